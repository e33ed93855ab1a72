package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tributary/connectors"
)

// What is beyond what paths of segments and the state of an installation hold is refused, with its line.
func TestLimitsOfStreams(t *testing.T) {
	t.Parallel()
	reg, err := connectors.NewRegistry(
		connectors.Definition{Name: "app", AnyStream: true, Polls: true, Receives: true, OpenSource: func(connectors.Config) (any, error) { return nil, nil }},
		connectors.Definition{Name: "sink", Modes: []connectors.Mode{connectors.Append}, OpenDestination: func(connectors.Config) (connectors.Destination, error) { return nil, nil }},
	)
	if err != nil {
		t.Fatal(err)
	}
	names := func(n, length int) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("%q", fmt.Sprintf("s%0*d", length-1, i)))
		}
		return "[" + strings.Join(list, ", ") + "]"
	}
	for name, c := range map[string]struct{ trigger, streams, listed, want string }{
		"as many as may be received": {"realtime", names(MaxStreams, MaxStreamNames/MaxStreams), "", ""},
		"as many as may be polled":   {"{kind: both, interval: 5m}", names(MaxPolledStreams, MaxStreamNames/MaxPolledStreams), "", ""},
		"more than may be polled":    {"{kind: both, interval: 5m}", names(MaxPolledStreams+1, 5), "", "5:3: source.streams: has 101 entries; at most 100 can be polled"},
		"more than may be received":  {"realtime", names(MaxStreams+1, 5), "", "5:3: source.streams: has 201 entries; want at most 200"},
		"names too long together":    {"realtime", names(100, 82), "", "5:3: source.streams: have names of 8200 bytes together; want at most 8192"},
		"a name as long as can be":   {"realtime", fmt.Sprintf("[%q]", strings.Repeat("é", 42)+"abc"), "", ""}, // 42 * 6 + 3
		"a name too long for a path": {"realtime", fmt.Sprintf("[a, %q]", strings.Repeat("é", 42)+"abcd"), "", "5:16: source.streams[1]: is too long: it takes 256 bytes where records are stored; want at most 255"},
		"too many listed":            {"realtime", names(100, 80), names(100, 80), "6:1: destinations: list streams with names of 24000 bytes together; want at most 16384"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			file := "name: a\nsource:\n  connector: app\n  trigger: " + c.trigger + "\n  streams: " + c.streams + "\ndestinations:\n"
			for i := range 3 {
				file += fmt.Sprintf("  - {name: d%d, connector: sink", i)
				if c.listed != "" {
					file += ", streams: " + c.listed
				}
				file += "}\n"
			}
			_, err := Parse("a.yaml", []byte(file), reg)
			var problems Problems
			switch {
			case c.want == "":
				if err != nil {
					t.Error(err)
				}
			case !errors.As(err, &problems) || len(problems) != 1 || !strings.Contains(err.Error(), c.want):
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
}
