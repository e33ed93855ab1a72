package segment

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// Sweep deletes below the mark of the origin, behind grace and retention, and what is left of an ended
// epoch; and keeps what is quarantined, unknown, unpublished, or no segment (I12).
func TestSweep(t *testing.T) {
	t.Parallel()
	const (
		grace = 24 * time.Hour
		week  = 7 * 24 * time.Hour
	)
	type published struct {
		marks     map[string]uint64
		retention time.Duration
		ended     bool
		err       error
	}
	epochs := map[string]published{
		"live":     {marks: map[string]uint64{"journal": 5, OriginPoll: 2, OriginManifest: 1, OriginQuarantine: 99}},
		"replay":   {marks: map[string]uint64{"journal": 5}, retention: week},
		"ended":    {ended: true},
		"unheard":  {},
		"failing":  {marks: map[string]uint64{"journal": 5}, ended: true, err: errors.New("catalog away")},
		"failing2": {err: errors.New("catalog away")},
	}
	// The time at which each object is looked at decides its age: all are written now.
	for _, test := range []struct {
		name string
		age  time.Duration
		gone []string
	}{
		{"within the grace", grace - time.Hour, nil},
		{"behind the grace", grace + time.Hour, []string{
			"ended/other/unknown-00000000000000000007", "ended/s/poll-00000000000000000009-x",
			"live/-/manifest-00000000000000000000", "live/s/journal-00000000000000000004", "live/s/poll-00000000000000000001-x",
		}},
		{"behind the retention", week + time.Hour, []string{
			"ended/other/unknown-00000000000000000007", "ended/s/poll-00000000000000000009-x",
			"live/-/manifest-00000000000000000000", "live/s/journal-00000000000000000004", "live/s/poll-00000000000000000001-x",
			"replay/s/journal-00000000000000000004",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := open(t, "file://"+t.TempDir())
			all := []string{
				"ended/other/unknown-00000000000000000007",
				"ended/s/poll-00000000000000000009-x",
				"ended/s/quarantine-00000000000000000001",
				"failing/s/journal-00000000000000000001",
				"failing2/s/journal-00000000000000000001",
				"live/-/manifest-00000000000000000000",
				"live/-/manifest-00000000000000000001",
				"live/-/overlap-00000000000000000000",
				"live/s/journal-00000000000000000004",
				"live/s/journal-00000000000000000005",
				"live/s/poll-00000000000000000001-x",
				"live/s/poll-00000000000000000002-x",
				"live/s/quarantine-00000000000000000001",
				"live/s/scribble",
				"replay/s/journal-00000000000000000004",
				"store-id",
				"unheard/s/journal-00000000000000000001",
			}
			for _, name := range all {
				if err := s.Put(t.Context(), name, nil); err != nil {
					t.Fatal(err)
				}
			}
			asked := map[string]int{}
			marks := func(_ context.Context, epoch string) (map[string]uint64, time.Duration, bool, error) {
				asked[epoch]++
				p := epochs[epoch]
				return p.marks, p.retention, p.ended, p.err
			}
			deleted, err := Sweep(t.Context(), s, marks, time.Now().Add(test.age), grace)
			if test.age > grace {
				if err == nil || !strings.Contains(err.Error(), "epoch failing:") || !strings.Contains(err.Error(), "epoch failing2:") {
					t.Errorf("err = %v, want both failing epochs in it", err)
				}
			} else if err != nil {
				t.Error(err)
			}
			want := slices.DeleteFunc(slices.Clone(all), func(name string) bool { return slices.Contains(test.gone, name) })
			var left []string
			for o, err := range s.List(t.Context(), "") {
				if err != nil {
					t.Fatal(err)
				}
				left = append(left, o.Name)
			}
			if !slices.Equal(left, want) {
				t.Errorf("left %q\nwant %q", left, want)
			}
			if deleted != len(test.gone) {
				t.Errorf("deleted = %d, want %d", deleted, len(test.gone))
			}
			for _, epoch := range slices.Collect(maps.Keys(asked)) {
				if asked[epoch] != 1 {
					t.Errorf("asked %d times for the marks of %s", asked[epoch], epoch)
				}
			}
		})
	}
}

// A listing that fails is an error, and nothing is deleted on the strength of it.
func TestSweepListingFails(t *testing.T) {
	t.Parallel()
	s := open(t, "mem://")
	if err := s.Put(t.Context(), "e/s/o-00000000000000000001", nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Sweep(ctx, s, nil, time.Now(), 0); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v, want context.Canceled", err)
	}
}
