package main

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Rates are read by name, whatever other figures a line has and however many processors there are.
func TestRatesOfABenchmark(t *testing.T) {
	t.Parallel()
	got := rates(`goos: linux
BenchmarkWrite/append/floor-2         	       4	1104329381 ns/op	     45277 rows/s
BenchmarkWrite/append/destination-16  	       4	1204329381 ns/op	  12.5 MB/s	     41518 records/s	     100 B/op
BenchmarkWrite/#00-2                  	       1	 204329381 ns/op	     244000 records/s
BenchmarkWrite/silent-2               	       1	 204329381 ns/op
BenchmarkOne-2                        	    1000	     2043 ns/op	     7 records/s
PASS
`)
	want := map[string]float64{"append/floor": 45277, "append/destination": 41518, "#00": 244000}
	if !maps.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// Each destination names a benchmark that there is, and patterns that find both of its sides.
func TestDestinationsHaveBenchmarks(t *testing.T) {
	t.Parallel()
	for _, d := range destinations {
		source, err := os.ReadFile(filepath.Join("../../connectors", d.pkg, "bench_test.go"))
		if err != nil || !strings.Contains(string(source), "func BenchmarkWrite(b *testing.B)") {
			t.Errorf("%s: connectors/%s has no BenchmarkWrite (%v)", d.key, d.pkg, err)
		}
		for _, side := range []string{d.floor, d.engine} {
			if first, _, _ := strings.Cut(side, "/"); !regexp.MustCompile(d.bench).MatchString(first) {
				t.Errorf("%s: %s doesn't match %s", d.key, d.bench, side)
			}
		}
	}
}
