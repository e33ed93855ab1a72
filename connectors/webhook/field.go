package webhook

import (
	"errors"
	"fmt"
	"math"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// units of a number that is a time; the empty one is seconds.
var units = []string{"", "seconds", "milliseconds", "microseconds"}

const knownUnits = "seconds, milliseconds, microseconds"

// field is a Field ready for use; nil is a field that no record has.
type field struct {
	header string // canonical
	path   string // gjson's
	value  string
	unit   string
	where  string // for messages
}

// parseField checks a Field; isTime says that it may have a unit.
func parseField(name string, f *Field, isTime bool, problem func(format string, args ...any)) *field {
	if f == nil {
		return nil
	}
	given := 0
	for _, s := range []string{f.Header, f.Body, f.Value} {
		if s != "" {
			given++
		}
	}
	if given != 1 {
		problem("%s: want exactly one of header, body and value", name)
		return nil
	}
	if f.Unit != "" && !isTime {
		problem("%s: only version and occurred_at have a unit", name)
	}
	if !slices.Contains(units, f.Unit) {
		problem("%s: unit %q is not known; known are %s", name, f.Unit, knownUnits)
	}
	parsed := &field{header: canonical(f.Header), value: f.Value, unit: f.Unit}
	switch {
	case f.Header != "" && parsed.header == "":
		problem("%s: %q is no name of a header", name, f.Header)
	case f.Header != "":
		parsed.where = "header " + parsed.header
	case f.Body != "":
		path, err := parsePath(f.Body)
		if err == nil && path == "" {
			err = errors.New("the path of the whole body is no field")
		}
		if err != nil {
			problem("%s: %v", name, err)
		}
		parsed.path, parsed.where = path, f.Body
	case isTime:
		problem("%s: want header or body", name)
	}
	return parsed
}

// raw returns the value as text, empty where there is none. Numbers keep the digits that the sender wrote.
func (f *field) raw(d connectors.Delivery, data []byte) (string, error) {
	switch {
	case f == nil:
		return "", nil
	case f.header != "":
		values := d.Header[f.header]
		switch len(values) {
		case 0:
			return "", nil
		case 1:
			return values[0], nil
		}
		return "", fmt.Errorf("%s comes more than once", f.where)
	case f.path != "":
		switch r := gjson.GetBytes(data, f.path); r.Type {
		case gjson.Null: // or missing
			return "", nil
		case gjson.String:
			return r.Str, nil
		case gjson.Number:
			return r.Raw, nil
		}
		return "", fmt.Errorf("%s is neither text nor a number", f.where)
	}
	return f.value, nil
}

// name returns the value as a name that every destination can hold as part of a key.
func (f *field) name(d connectors.Delivery, data []byte) (string, error) {
	s, err := f.raw(d, data)
	switch {
	case err != nil:
		return "", err
	case len(s) > connectors.MaxIDBytes:
		return "", fmt.Errorf("%s is longer than %d bytes", f.where, connectors.MaxIDBytes)
	case !utf8.ValidString(s):
		return "", fmt.Errorf("%s is not valid UTF-8", f.where)
	// A lone surrogate reads as the replacement character: two different names would become one.
	case strings.ContainsRune(s, utf8.RuneError):
		return "", fmt.Errorf("%s has a character that is no text", f.where)
	case strings.ContainsFunc(s, unicode.IsControl):
		return "", fmt.Errorf("%s has a control character", f.where)
	}
	return s, nil
}

// version returns a number as it is where the field has no unit, else the time in microseconds; 0 = unknown.
func (f *field) version(d connectors.Delivery, data []byte) (int64, error) {
	s, err := f.raw(d, data)
	if err != nil || s == "" {
		return 0, err
	}
	if f.unit == "" {
		if v, err := strconv.ParseInt(s, 10, 64); err == nil {
			return v, nil
		}
		t, ok := parseTime(s)
		if !ok {
			return 0, fmt.Errorf("%s is neither a whole number of 64 bits nor a time", f.where)
		}
		return t.UnixMicro(), nil
	}
	t, ok := parseMoment(s, f.unit)
	if !ok {
		return 0, fmt.Errorf("%s is no time", f.where)
	}
	return t.UnixMicro(), nil
}

// time returns the zero time where the field holds none.
func (f *field) time(d connectors.Delivery, data []byte) time.Time {
	s, err := f.raw(d, data)
	if err != nil || s == "" {
		return time.Time{}
	}
	if t, ok := parseMoment(s, f.unit); ok {
		return t
	}
	return time.Time{}
}

// parseMoment reads a number of units since 1970, also with a fraction, or a time in text, between the years 1 and
// 9999.
func parseMoment(s, unit string) (time.Time, bool) {
	perSecond := int64(1)
	switch unit {
	case "milliseconds":
		perSecond = 1e3
	case "microseconds":
		perSecond = 1e6
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return inYears(n/perSecond, n%perSecond*(1e9/perSecond))
	}
	if n, err := strconv.ParseFloat(s, 64); err == nil {
		seconds, fraction := math.Modf(n / float64(perSecond))
		if !(math.Abs(seconds) < 1e12) { // what int64 can't hold becomes anything; NaN too
			return time.Time{}, false
		}
		return inYears(int64(seconds), int64(math.Round(fraction*1e6))*1e3)
	}
	return parseTime(s)
}

// parseTime reads a time as RFC 3339, also with a zone as QuickBooks writes it (-0700), and without a zone as UTC. It
// looks at the end to choose, because a layout that doesn't fit costs an error.
func parseTime(s string) (time.Time, bool) {
	layout := "2006-01-02T15:04:05"
	if n := len(s); n > len(layout) {
		switch {
		case s[n-1] == 'Z' || s[n-6] == '+' || s[n-6] == '-':
			layout = time.RFC3339
		case s[n-5] == '+' || s[n-5] == '-':
			layout = "2006-01-02T15:04:05Z0700"
		}
	}
	t, err := time.Parse(layout, s)
	if err != nil {
		return time.Time{}, false
	}
	return inYears(t.Unix(), int64(t.Nanosecond()))
}

func inYears(seconds, nanoseconds int64) (time.Time, bool) {
	t := time.Unix(seconds, nanoseconds).UTC()
	return t, t.Year() >= 1 && t.Year() <= 9999
}

// canonical returns a header's name as net/http keeps it, empty where it can't be one.
func canonical(name string) string {
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return ""
		}
	}
	return textproto.CanonicalMIMEHeaderKey(name)
}
