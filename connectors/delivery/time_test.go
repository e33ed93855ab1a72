package delivery

import (
	"testing"
	"time"
)

func TestTimeIsRFC3339OrNothing(t *testing.T) {
	t.Parallel()
	for want, times := range map[string][]time.Time{
		"": {{}, time.Date(292_277_026_596, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC),
			time.Date(9999, 12, 31, 23, 59, 59, 0, time.FixedZone("", -3600))},
		"2026-11-01T11:00:00.123456Z": {time.Date(2026, 11, 1, 12, 0, 0, 123456000, time.FixedZone("", 3600))},
	} {
		for _, at := range times {
			if got := Time(at); got != want {
				t.Errorf("%v: got %q, want %q", at, got, want)
			}
		}
	}
}
