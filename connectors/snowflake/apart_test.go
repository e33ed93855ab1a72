package snowflake_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

// The largest batch is written to a stand-in in a process of its own, so that the memory that is measured is the connector's: DuckDB takes more for these rows than they have.

// apart is set in the child's environment.
const apart = "TRIBUTARY_SNOWFLAKE_APART"

// TestStandInApart is the child: it serves until its input ends, which is when the parent does.
func TestStandInApart(t *testing.T) {
	if os.Getenv(apart) == "" {
		return // there is nothing to serve
	}
	s := snowflaketest.New(t, &returned)
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read := rows
		if r.URL.Path == "/columns" {
			read = columnRows
		}
		_ = json.NewEncoder(w).Encode(read(t, s))
	}))
	defer control.Close()
	fmt.Printf("\nserving %s %s\n", s.URL, control.URL)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// placeApart is a place on such a stand-in.
func placeApart(t *testing.T, settings snowflake.Settings) connectortest.DestinationPlace {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^TestStandInApart$")
	child.Env = append(os.Environ(), apart+"=1")
	child.Stderr = os.Stderr
	leash, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = leash.Close()
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	})
	var server, control string
	for lines := bufio.NewScanner(out); control == "" && lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), "serving "); ok {
			server, control, _ = strings.Cut(rest, " ")
		}
	}
	if control == "" {
		t.Fatal("the stand-in does not start")
	}
	read := func(path string) func(t *testing.T) []connectortest.Row {
		return func(t *testing.T) (all []connectortest.Row) {
			t.Helper()
			res, err := http.Get(control + path)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if err := json.NewDecoder(res.Body).Decode(&all); err != nil {
				t.Fatal(err)
			}
			return all
		}
	}
	c := direct(&snowflaketest.Server{URL: server})
	def := snowflake.Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
			return open(t, def, c, settings, connectors.Config{Mode: mode})
		},
		Rows: read("/rows"),
		Columns: &connectortest.ColumnsPlace{
			Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
				return open(t, def, c, settings, connectors.Config{Mode: mode, Layout: connectors.LayoutColumns, Schema: rule})
			},
			Rows: read("/columns"),
		},
	}
}
