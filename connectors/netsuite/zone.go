package netsuite

import "time"

// SuiteQL writes times without a zone, in the one of the account's user, in whole seconds. What is compared, sorted and kept in a cursor is that
// text, a wall time: it says exactly what NetSuite was asked. Wall times are no clock, though. When clocks are set back, an hour of them comes
// twice: what changes in its second pass sorts among what changed in the first, behind a poll that has passed already. Two rules answer that:
//
//   - A poll that is to read what changed from an instant on begins at the lowest wall time that any instant from then on has (lowest).
//   - All wall times of an hour that comes twice have one version, so that of two changes in it the later arrival stands (I5).
//     Any reading of the two passes would put some later change before an earlier one.

const (
	layout = time.DateTime
	// format is layout in SuiteQL.
	format = "YYYY-MM-DD HH24:MI:SS"
)

// lowest is the lowest wall time of all instants from t on.
func lowest(t time.Time, zone *time.Location) string {
	t = t.In(zone)
	wall := t.Format(layout)
	if _, end := t.ZoneBounds(); !end.IsZero() {
		return min(wall, end.In(zone).Format(layout))
	}
	return wall
}

// reading is what a wall time stands for.
type reading struct {
	// at is the instant, of two the earlier. It never falls as wall times rise.
	at time.Time
	// version is at in microseconds, or where wall times come twice that of the first of them.
	version int64
	twice   bool
}

// read reads a wall time; false: it is none.
func read(wall string, zone *time.Location) (reading, bool) {
	utc, err := time.Parse(layout, wall)
	if err != nil || len(wall) != len(layout) {
		return reading{}, false
	}
	// A change of the offset within a day before or after may concern this time; there are never two within two days.
	_, before := utc.Add(-24 * time.Hour).In(zone).Zone()
	_, after := utc.Add(24 * time.Hour).In(zone).Zone()
	first, second := utc.Add(-time.Duration(before)*time.Second), utc.Add(-time.Duration(after)*time.Second)
	is := func(t time.Time) bool { return t.In(zone).Format(layout) == wall }
	r := reading{at: first.UTC()}
	if !is(first) {
		r.at = second.UTC()
	}
	r.version = r.at.UnixMicro()
	if before > after && is(first) && is(second) {
		r.twice = true
		_, turn := first.In(zone).ZoneBounds()
		r.version = turn.Add(-time.Duration(before-after) * time.Second).UnixMicro()
	}
	return r, true
}

// apart is more than two zones, or two readings of one, can lie apart.
const apart = 26 * time.Hour

// below is a wall time before every instant at wall or after it, in whatever zone and pass of an hour it is taken for.
func below(wall string) string {
	t, _ := time.Parse(layout, wall)
	return t.Add(-apart).Format(layout)
}
