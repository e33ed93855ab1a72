package integration

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/invopop/jsonschema"
)

// Duration is a time.Duration written as a whole number and a unit: "500ms", "90s", "5m", "24h", "7d". It is
// never negative; a day has 24 hours.
type Duration time.Duration

// durationPattern bounds each unit so that whatever it allows fits int64 nanoseconds, and the pattern again when it is
// written with a larger unit.
const durationPattern = `^([0-9]{1,7}(ms|s)|[0-9]{1,6}m|[0-9]{1,5}(h|d))$`

var durationRule = regexp.MustCompile(durationPattern)

// units are in the order in which a Duration is written: with the largest that leaves no rest, in days from two up.
var units = []struct {
	name   string
	length time.Duration
	least  time.Duration
}{
	{"d", 24 * time.Hour, 48 * time.Hour},
	{"h", time.Hour, time.Hour},
	{"m", time.Minute, time.Minute},
	{"s", time.Second, 0},
	{"ms", time.Millisecond, 0},
}

// ParseDuration reads what String writes.
func ParseDuration(s string) (Duration, error) {
	if !durationRule.MatchString(s) {
		return 0, fmt.Errorf("duration %q: want a whole number and a unit, such as 90s, 5m, 24h or 7d", s)
	}
	digits := len(s)
	for s[digits-1] > '9' {
		digits--
	}
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, fmt.Errorf("duration %q: %w", s, err)
	}
	for _, u := range units {
		if u.name == s[digits:] {
			return Duration(time.Duration(n) * u.length), nil
		}
	}
	return 0, fmt.Errorf("duration %q: unknown unit", s)
}

// String writes the duration as integration files do.
func (d Duration) String() string {
	for _, u := range units {
		if t := time.Duration(d); t%u.length == 0 && t >= u.least {
			return strconv.FormatInt(int64(t/u.length), 10) + u.name
		}
	}
	return time.Duration(d).String()
}

// MarshalJSON writes String. It fails for what a file can't say, such as a negative duration or parts of a millisecond.
func (d Duration) MarshalJSON() ([]byte, error) {
	s := d.String()
	if !durationRule.MatchString(s) {
		return nil, fmt.Errorf("duration %s: want whole milliseconds from 0 to 99999d", s)
	}
	return json.Marshal(s)
}

// UnmarshalJSON reads a string as ParseDuration does; a number is refused, because it has no unit.
func (d *Duration) UnmarshalJSON(raw []byte) error {
	var s string
	if err := json.Unmarshal(raw, &s); err != nil {
		return fmt.Errorf("duration: want a string such as \"90s\", \"5m\", \"24h\" or \"7d\"")
	}
	parsed, err := ParseDuration(s)
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}

// JSONSchema describes a duration to editors.
func (Duration) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{
		Type: "string", Pattern: durationPattern, Examples: []any{"90s", "5m", "24h", "7d"},
		Description: "A whole number and a unit (ms, s, m, h, d), such as 90s, 5m, 24h or 7d.",
	}
}
