package netsuite

import (
	"testing"
	"time"
)

// A year of wall times in zones that set their clocks back by an hour, by half an hour, in autumn of the south, and never.
func TestWallTimes(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"America/Los_Angeles", "Australia/Lord_Howe", "America/Santiago", "Europe/Dublin", "UTC", "Asia/Kathmandu"} {
		zone, err := time.LoadLocation(name)
		if err != nil {
			t.Fatal(err)
		}
		const step = 10 * time.Minute
		twice := 0
		var last int64
		for at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC); at.Year() == 2026; at = at.Add(step) {
			wall := at.In(zone).Format(layout)
			r, ok := read(wall, zone)
			if !ok || r.at.In(zone).Format(layout) != wall {
				t.Fatalf("%s: %s reads as %s", name, wall, r.at)
			}
			switch {
			case r.twice:
				twice++
				if r.at.After(at) || at.Sub(r.at) > time.Hour || r.version > r.at.UnixMicro() {
					t.Errorf("%s: %s of %s reads as %s, version %d", name, wall, at, r.at, r.version)
				}
			case !r.at.Equal(at) || r.version != at.UnixMicro():
				t.Errorf("%s: %s of %s reads as %s, version %d", name, wall, at, r.at, r.version)
			}
			// What changes later never has a lesser version, and its time never falls below lowest.
			if r.version < last {
				t.Errorf("%s: at %s the version falls", name, at)
			}
			last = r.version
			low := lowest(at, zone)
			for later := at; later.Before(at.Add(2 * time.Hour)); later = later.Add(step) {
				if w := later.In(zone).Format(layout); w < low {
					t.Errorf("%s: lowest of %s is %s, but %s follows", name, at, low, w)
				}
			}
		}
		if back := map[string]int{"America/Los_Angeles": 12, "Australia/Lord_Howe": 6, "America/Santiago": 12, "Europe/Dublin": 12}[name]; twice != back {
			t.Errorf("%s: %d wall times come twice, want %d", name, twice, back)
		}
	}
	for _, wall := range []string{"", "2026-03-01", "2026-03-01 12:00:00.5", "2026-3-01 12:00:00", "3/1/2026 12:00:00"} {
		if _, ok := read(wall, time.UTC); ok {
			t.Errorf("%q is read", wall)
		}
	}
}
