package table

import (
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

// value is a value of a payload.
type value struct {
	kind Type
	json gjson.Result
}

// valueOf finds the type of a value of a valid payload. Only what its text or its digits say counts: nothing is rounded or guessed.
func (d *Dialect) valueOf(r gjson.Result) value {
	v := value{JSON, r}
	switch r.Type {
	case gjson.Null:
		v.kind = None
	case gjson.True, gjson.False:
		v.kind = Boolean
	case gjson.Number:
		v.kind = d.numberType(r.Raw)
	case gjson.String:
		if (d.Text == 0 || len(r.Str) <= d.Text) && IsPlain(r.Raw) {
			v.kind = Text
		}
	}
	return v
}

func (d *Dialect) numberType(literal string) Type {
	if !strings.ContainsAny(literal, ".eE") {
		if _, err := strconv.ParseInt(literal, 10, 64); err == nil {
			return Integer
		}
	}
	if integer, fraction := digits(literal); integer <= d.Integer && fraction <= d.Fraction {
		return Decimal
	}
	return JSON
}

// digits counts what a number's value needs before and behind the decimal point.
func digits(literal string) (integer, fraction int) {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(strings.TrimPrefix(literal, "-")), "e")
	whole, part, _ := strings.Cut(mantissa, ".")
	all := whole + part
	first, last := strings.IndexFunc(all, notZero), strings.LastIndexFunc(all, notZero)
	if first < 0 {
		return 1, 0
	}
	point := len(whole)
	if exponent != "" {
		shift, err := strconv.ParseInt(exponent, 10, 32)
		if err != nil {
			const beyond = 1 << 31
			return beyond, beyond
		}
		point += int(shift)
	}
	return max(0, point-first), max(0, last+1-point)
}

func notZero(r rune) bool { return r != '0' }

// IsPlain says that a JSON string, as it is spelled, is text: without \u0000, which many databases don't take in text, and without half a surrogate
// pair, which is no character.
func IsPlain(raw string) bool {
	for {
		i := strings.IndexByte(raw, '\\')
		if i < 0 {
			return true
		}
		raw = raw[i+1:]
		if raw[0] != 'u' {
			raw = raw[1:]
			continue
		}
		unit := codeUnit(raw)
		raw = raw[5:]
		switch {
		case unit == 0 || unit >= 0xdc00 && unit <= 0xdfff:
			return false
		case unit >= 0xd800 && unit <= 0xdbff:
			if len(raw) < 6 || raw[0] != '\\' || raw[1] != 'u' {
				return false
			}
			if low := codeUnit(raw[1:]); low < 0xdc00 || low > 0xdfff {
				return false
			}
			raw = raw[6:]
		}
	}
}

// codeUnit reads uXXXX.
func codeUnit(s string) uint64 {
	unit, _ := strconv.ParseUint(s[1:5], 16, 32) // the payload is valid
	return unit
}

// timeOf reads a string of RFC 3339 that a column of microseconds holds.
func timeOf(s string) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Nanosecond()%1000 != 0 {
		return time.Time{}, false
	}
	return Time(t.UTC())
}

// fits says whether a column of a type holds the value.
func (v value) fits(t Type) bool {
	switch {
	case v.kind == None || v.kind == t || t == JSON:
		return true
	case t == Decimal:
		return v.kind == Integer
	case t == Timestamp && v.kind == Text:
		_, ok := timeOf(v.json.Str)
		return ok
	case t == Other:
		return v.json.Type != gjson.String || v.kind == Text
	}
	return false
}

// as is the value for a column of a type that it fits; see Rows.Values.
func (v value) as(t Type) any {
	if v.kind == None {
		return nil
	}
	switch t {
	case Boolean:
		return v.json.Type == gjson.True
	case Integer:
		n, _ := strconv.ParseInt(v.json.Raw, 10, 64) // it fits
		return n
	case Timestamp:
		at, _ := timeOf(v.json.Str)
		return at
	case Text, Other:
		if v.json.Type == gjson.String {
			return v.json.Str
		}
		return v.json.Raw
	case Decimal:
		return v.json.Raw
	}
	return []byte(v.json.Raw)
}
