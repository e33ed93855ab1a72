package segment

import (
	"strings"
	"testing"
)

// Names come back from their text, stay within three path elements whatever the stream is called, and
// sort by sequence.
func TestName(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"orders", "", "-", ".", "..", "a/b", "../../etc", "é %2F", "a?b#c", "\x00", "_"} {
		for _, n := range []Name{
			{Epoch: "0b6e8b5e-6a5e-4d0e-9a39-2f3a2b1c0d4e", Stream: stream, Origin: "7c1d-11", Sequence: 1<<64 - 1},
			{Epoch: "e", Stream: stream, Origin: OriginPoll, Sequence: 0, Suffix: "x1y2"},
			{Epoch: "e", Stream: stream, Origin: "a-00000000000000000007", Sequence: 3, Suffix: "0"},
		} {
			if err := n.valid(); err != nil {
				t.Fatalf("%+v: %v", n, err)
			}
			text := n.String()
			got, err := ParseName(text)
			if err != nil || got != n {
				t.Errorf("%q parsed as %+v, %v; want %+v", text, got, err, n)
			}
			if err := checkPath(text); err != nil || strings.Count(text, "/") != 2 {
				t.Errorf("%q is no safe path: %v", text, err)
			}
		}
	}
	if a, b := (Name{Epoch: "e", Origin: "o", Sequence: 9}).String(), (Name{Epoch: "e", Origin: "o", Sequence: 10}).String(); a >= b {
		t.Errorf("%q sorts behind %q", a, b)
	}
}

// What String would not write is no name, so nothing else is ever swept.
func TestParseNameRefuses(t *testing.T) {
	t.Parallel()
	const n = "00000000000000000001"
	for _, s := range []string{
		"", "store-id", "e/s", "e/s/o", "e/s/o-1", "e/s/-" + n, "/s/o-" + n, "e//o-" + n, "e/s/t/o-" + n, "../s/o-" + n,
		"e/%2f/o-" + n, "e/%zz/o-" + n, "e/s/o-" + n + "-", "e/s/o-" + n + "-a/b", "e/s/o-99999999999999999999", "e/s/o-+0000000000000000001",
	} {
		if got, err := ParseName(s); err == nil {
			t.Errorf("%q parsed as %+v", s, got)
		}
	}
	for _, bad := range []Name{
		{Epoch: "", Origin: "o"},
		{Epoch: "..", Origin: "o"},
		{Epoch: "a/b", Origin: "o"},
		{Epoch: "e", Origin: ""},
		{Epoch: "e", Origin: ".."},
		{Epoch: "e", Origin: "o", Suffix: "a-b"},
		{Epoch: "e", Origin: "o", Suffix: n},
	} {
		if bad.valid() == nil {
			t.Errorf("%+v is valid", bad)
		}
	}
}
