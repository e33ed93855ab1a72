package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
)

// row is a line of the cost table.
type row struct {
	Key  string `json:"key"`
	Name string `json:"name"`
	Unit string `json:"unit"`
	// Floor is 0 where there is nothing to compare with but the goal.
	Floor  float64 `json:"floor,omitempty"`
	Engine float64 `json:"engine"`
	// Goal is a share of the floor, or with Less a figure of its own that should not be passed; 0 without a floor means none at all.
	Goal float64 `json:"goal,omitempty"`
	// Less says that less is better.
	Less bool `json:"less,omitempty"`
	// Ratio is the engine's share of the floor, so that more is better: turned round where less is. Without a floor it is that of the goal.
	Ratio float64 `json:"ratio"`
	// Reached says whether the goal is; nil where there is none.
	Reached *bool  `json:"reached,omitempty"`
	Note    string `json:"note,omitempty"`
}

// judged fills in ratio and verdict.
func (r row) judged() row {
	switch {
	case !r.Less:
		r.Ratio = r.Engine / r.Floor
		if r.Goal > 0 {
			r.Reached = new(r.Ratio >= r.Goal)
		}
	case r.Floor > 0:
		r.Ratio = r.Floor / r.Engine
		if r.Goal > 0 {
			r.Reached = new(r.Engine <= r.Goal)
		}
	default:
		r.Ratio = (r.Goal + 1) / (r.Engine + 1) // of 0, too
		r.Reached = new(r.Engine <= r.Goal)
	}
	return r
}

func (a actions) describe() string {
	var parts []string
	for _, p := range []struct {
		n    int64
		what string
	}{
		{a.Signals, "signals"}, {a.Activities, "activity attempts"}, {a.Timers, "timers"}, {a.Heartbeats, "heartbeats"}, {a.Updates, "updates"},
		{a.Attributes, "search attributes"}, {a.Starts, "starts and continue-as-new"}, {a.SideEffects, "side effects"},
	} {
		if p.n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", p.n, p.what))
		}
	}
	return fmt.Sprintf("%s; besides %d workflow tasks, %d events in all", strings.Join(parts, ", "), a.Tasks, a.Events)
}

// print writes the table for people.
func print(w io.Writer, rows []row) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "work\tunit\tfloor\tengine\tratio\tgoal\t")
	for _, r := range rows {
		goal := ""
		if r.Reached != nil {
			goal = "ratio >= " + figure(r.Goal)
			if r.Less {
				goal = "<= " + figure(r.Goal) + " " + r.Unit
			}
			if !*r.Reached {
				goal += ", MISSED"
			}
		}
		floor := "-"
		if r.Floor > 0 {
			floor = figure(r.Floor)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%.2f\t%s\t\n", r.Name, r.Unit, floor, figure(r.Engine), r.Ratio, goal)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, r := range rows {
		if r.Note != "" {
			if _, err := fmt.Fprintf(w, "- %s: %s\n", r.Name, r.Note); err != nil {
				return err
			}
		}
	}
	return nil
}

func figure(v float64) string {
	if v >= 100 || v == math.Trunc(v) {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// ratios is the file of the least ratios. They were measured at one size, and are compared at that only: what is fixed about a run weighs more in
// a small one.
type ratios struct {
	Size
	// Least is by row, the measured ratio less margin.
	Least map[string]float64 `json:"least"`
}

// Size is how large a run is.
type Size struct {
	Scale         float64 `json:"scale"`
	Rows          int     `json:"rows"`
	Installations int     `json:"installations"`
}

// margin is how much worse than recorded a ratio may get on a noisy machine.
const margin = 0.15

// record writes what was measured, keeping rows that were not.
func record(file string, size Size, rows []row) error {
	r, err := readRatios(file)
	if errors.Is(err, os.ErrNotExist) || err == nil && r.Size != size {
		r = ratios{Size: size, Least: map[string]float64{}}
	} else if err != nil {
		return err
	}
	for _, row := range rows {
		r.Least[row.Key] = math.Floor(row.Ratio*(1-margin)*1000+1e-9) / 1000
	}
	raw, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, '\n'), 0o644)
}

func readRatios(file string) (r ratios, err error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		return r, fmt.Errorf("%s: %w", file, err)
	}
	return r, nil
}

// compare lists the rows that fell below the file's ratios. A row that the file doesn't know is one, too, and of a whole run one that only the file has.
func compare(file string, size Size, rows []row, whole bool) (below []string, err error) {
	r, err := readRatios(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w: record one with -record on a machine that does nothing else, or give -ratios \"\" to compare nothing", err)
	}
	if err != nil {
		return nil, err
	}
	if r.Size != size {
		return nil, fmt.Errorf("%s holds ratios of a run with -scale %g -rows %d -idle %d: run that, or give -ratios \"\" to compare nothing", file, r.Scale, r.Rows, r.Installations)
	}
	for _, row := range rows {
		least, ok := r.Least[row.Key]
		if !ok {
			below = append(below, fmt.Sprintf("%s: %s has no ratio for it; record one with -record", row.Key, file))
		} else if !(row.Ratio >= least) { // not a number is below
			below = append(below, fmt.Sprintf("%s: ratio %.3f is below %.3f", row.Key, row.Ratio, least))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(r.Least)) {
		if whole && !slices.ContainsFunc(rows, func(row row) bool { return row.Key == key }) {
			below = append(below, fmt.Sprintf("%s: it was not measured; take it out of %s if nothing is to be", key, file))
		}
	}
	return below, nil
}
