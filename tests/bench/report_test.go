package main

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A ratio is better the larger it is, whichever way its row counts, and the goal is reached accordingly.
func TestRowsAreJudged(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		row     row
		ratio   float64
		reached *bool
	}{
		"share reached":   {row{Floor: 100, Engine: 80, Goal: 0.8}, 0.8, new(true)},
		"share missed":    {row{Floor: 100, Engine: 79, Goal: 0.8}, 0.79, new(false)},
		"latency reached": {row{Floor: 3, Engine: 60, Goal: 60, Less: true}, 0.05, new(true)},
		"latency missed":  {row{Floor: 3, Engine: 75, Goal: 60, Less: true}, 0.04, new(false)},
		"share, no goal":  {row{Floor: 4, Engine: 1}, 0.25, nil},
		"no goal":         {row{Floor: 1, Engine: 4, Less: true}, 0.25, nil},
		"only a goal":     {row{Engine: 399, Goal: 199, Less: true}, 0.5, new(false)},
		"nothing wanted":  {row{Engine: 0, Less: true}, 1, new(true)},
		"something came":  {row{Engine: 1, Less: true}, 0.5, new(false)},
	} {
		got := test.row.judged()
		if got.Ratio != test.ratio {
			t.Errorf("%s: ratio %v, want %v", name, got.Ratio, test.ratio)
		}
		if (got.Reached == nil) != (test.reached == nil) || got.Reached != nil && *got.Reached != *test.reached {
			t.Errorf("%s: reached is %v", name, got.Reached)
		}
	}
}

// What is recorded allows the margin and no more; rows that nobody recorded, other sizes and a missing file are refused.
func TestRatiosAreCompared(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "ratios.json")
	size := Size{Scale: 1, Rows: 10, Installations: 3}
	if _, err := compare(file, size, nil, false); err == nil || !strings.Contains(err.Error(), "-record") {
		t.Errorf("no file: %v", err)
	}
	if err := record(file, size, []row{{Key: "a", Ratio: 0.5}, {Key: "b", Ratio: 1}}); err != nil {
		t.Fatal(err)
	}
	if err := record(file, size, []row{{Key: "b", Ratio: 2}}); err != nil { // a part is recorded anew, the rest is kept
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		rows  []row
		whole bool
		below []string
	}{
		"at the margin":  {[]row{{Key: "a", Ratio: 0.425}, {Key: "b", Ratio: 1.7}}, true, nil},
		"below":          {[]row{{Key: "a", Ratio: 0.424}, {Key: "b", Ratio: 2}}, true, []string{"a"}},
		"no number":      {[]row{{Key: "a", Ratio: math.NaN()}}, false, []string{"a"}},
		"not recorded":   {[]row{{Key: "c", Ratio: 9}}, false, []string{"c"}},
		"a part":         {[]row{{Key: "b", Ratio: 2}}, false, nil},
		"one of a whole": {[]row{{Key: "b", Ratio: 2}}, true, []string{"a"}},
	} {
		below, err := compare(file, size, test.rows, test.whole)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var keys []string
		for _, b := range below {
			key, _, _ := strings.Cut(b, ":")
			keys = append(keys, key)
		}
		if !slices.Equal(keys, test.below) {
			t.Errorf("%s: %v", name, below)
		}
		// What the program ends with.
		if err := verdict(file, size, test.rows, test.whole); (err != nil) != (len(test.below) > 0) || err != nil && !strings.Contains(err.Error(), "\n  "+test.below[0]+": ") {
			t.Errorf("%s: the verdict is %v", name, err)
		}
	}
	if _, err := compare(file, Size{Scale: 0.5, Rows: 10, Installations: 3}, nil, false); err == nil {
		t.Error("ratios of another size were compared")
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := compare(file, size, nil, false); err == nil {
		t.Error("a broken file was read")
	}
}
