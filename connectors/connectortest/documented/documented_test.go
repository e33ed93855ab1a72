package documented

import (
	"slices"
	"sync"
	"testing"
)

func TestMissing(t *testing.T) {
	t.Parallel()
	e := New("THROTTLED", "", "NOT_FOUND", "DENIED")
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() { e.Return("NOT_FOUND") })
		group.Go(func() { e.Return("") })
	}
	group.Wait()
	if got := e.Missing(); !slices.Equal(got, []string{"DENIED", "THROTTLED"}) {
		t.Errorf("missing: %q", got)
	}
	e.Return("UNHEARD_OF")
	e.Return("DENIED")
	e.Return("THROTTLED")
	if got := e.Missing(); got != nil {
		t.Errorf("missing: %q", got)
	}
	(*Errors)(nil).Return("anything")
}

// A run of some tests can't tell that an error is never returned. go test passes other flags always, some of whose names begin alike.
func TestWholeRuns(t *testing.T) {
	t.Parallel()
	for arg, want := range map[string]bool{
		"-test.v=true": true, "-test.timeout=10m0s": true, "-test.testlogfile=/tmp/run": true, "-test.benchtime=1s": true, "run=x": true,
		"-test.run=TestX": false, "--test.run=TestX": false, "-test.skip=X": false, "-test.bench=.": false, "-test.list=.": false, "-test.fuzz=F": false,
	} {
		if got := whole([]string{"/tmp/x.test", arg}); got != want {
			t.Errorf("%s: %v", arg, got)
		}
	}
}
