package delivery

import "time"

// Time writes a record's time as RFC 3339 does, in UTC. It is "" where the time is unknown or beyond the years 1 to 9999, which other
// readers take for no time.
func Time(t time.Time) string {
	t = t.UTC()
	if y := t.Year(); t.IsZero() || y < 1 || y > 9999 {
		return ""
	}
	return t.Format(time.RFC3339Nano)
}
