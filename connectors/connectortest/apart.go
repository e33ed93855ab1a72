package connectortest

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
)

// A stand-in keeps what it is sent, and may need more memory than that has while it takes it. So for the largest batch it runs in a process of its own,
// which is the connector's own test binary once more: the memory that is measured is then the destination's alone.

const (
	// apart is set in the environment of the child.
	apart = "TRIBUTARY_TEST_STAND_IN_APART"
	// apartTest is the test that serves there. It calls ServeApart.
	apartTest = "TestStandInApart"
	// apartServes begins the line in which the child says where it is.
	apartServes = "serving apart: "
)

// StandIn is a server that destinations write to in place of the vendor's.
type StandIn struct {
	// Where is what a connection to it says, such as addresses and keys, in an order that the connector's tests agree on.
	Where []string
	// Rows and Columns read everything back, as those of DestinationPlace and ColumnsPlace do. Columns is nil where layout columns is not offered.
	Rows, Columns func(t *testing.T) []Row
}

// ServeApart serves a stand-in to the process that called StartApart, until that closes the child's input or ends. The test that calls it is
// named TestStandInApart, and does nothing in a run of all tests.
func ServeApart(t *testing.T, start func(t *testing.T) StandIn) {
	if os.Getenv(apart) == "" {
		return // nobody waits for it
	}
	s := start(t)
	control := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		read := s.Rows
		if r.URL.Path == "/columns" {
			read = s.Columns
		}
		_ = json.NewEncoder(w).Encode(read(t))
	}))
	defer control.Close()
	where, err := json.Marshal(append([]string{control.URL}, s.Where...))
	if err != nil {
		t.Fatal(err)
	}
	fmt.Printf("\n%s%s\n", apartServes, where)
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// StartApart starts the stand-in of the package's TestStandInApart in a process that ends with the test.
func StartApart(t *testing.T) StandIn {
	t.Helper()
	child := exec.Command(os.Args[0], "-test.run=^"+apartTest+"$")
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
	var said strings.Builder
	t.Cleanup(func() {
		_ = leash.Close()
		rest, _ := io.ReadAll(out)
		if err := child.Wait(); err != nil {
			t.Errorf("the stand-in apart: %v\n%s%s", err, said.String(), rest)
		}
	})
	var where []string
	for lines := bufio.NewScanner(out); where == nil; {
		if !lines.Scan() {
			t.Fatalf("the stand-in apart does not start")
		}
		if list, found := strings.CutPrefix(lines.Text(), apartServes); !found {
			said.WriteString(lines.Text() + "\n")
		} else if err := json.Unmarshal([]byte(list), &where); err != nil {
			t.Fatal(err)
		}
	}
	read := func(path string) func(t *testing.T) []Row {
		return func(t *testing.T) (all []Row) {
			t.Helper()
			res, err := http.Get(where[0] + path)
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
	return StandIn{Where: where[1:], Rows: read("/rows"), Columns: read("/columns")}
}
