package mongodb

import (
	"cmp"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
)

// number adds a JSON number as the first of these that has exactly its value: an int64; a double, where the number is what that double
// is written as; a Decimal128, of 34 digits, if the server has them; the text of the number.
func (e *encoder) number(dst []byte, name, literal string) []byte {
	if !strings.ContainsAny(literal, ".eE") && literal != "-0" {
		if n, err := strconv.ParseInt(literal, 10, 64); err == nil {
			return bsoncore.AppendInt64Element(dst, name, n)
		}
	}
	exact, ok := parseDecimal(literal)
	if !ok {
		return bsoncore.AppendStringElement(dst, name, literal)
	}
	if f, err := strconv.ParseFloat(exact.String(), 64); err == nil {
		if shortest, _ := parseDecimal(strconv.FormatFloat(f, 'e', -1, 64)); shortest == exact {
			return bsoncore.AppendDoubleElement(dst, name, f)
		}
	}
	const precision = 34
	if e.decimals && len(exact.digits) <= precision {
		// Not from the literal: one with a million zeros would be divided by ten a million times.
		if d, err := bson.ParseDecimal128(exact.String()); err == nil {
			high, low := d.GetBytes()
			return bsoncore.AppendDecimal128Element(dst, name, high, low)
		}
	}
	return bsoncore.AppendStringElement(dst, name, literal)
}

// decimal is a number's value: digits times ten to the exponent. Digits neither begin nor end in 0; "" is zero.
type decimal struct {
	negative bool
	digits   string
	exponent int
}

func (d decimal) String() string {
	s := cmp.Or(d.digits, "0") + "E" + strconv.Itoa(d.exponent)
	if d.negative {
		return "-" + s
	}
	return s
}

// parseDecimal reads a valid JSON number; false where its exponent is beyond 32 bits.
func parseDecimal(literal string) (d decimal, ok bool) {
	literal, d.negative = strings.CutPrefix(literal, "-")
	mantissa, exponent := literal, ""
	if i := strings.IndexAny(literal, "eE"); i >= 0 {
		mantissa, exponent = literal[:i], literal[i+1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	d.digits = strings.TrimLeft(whole+fraction, "0")
	if d.digits == "" {
		return d, true
	}
	if exponent != "" {
		shift, err := strconv.ParseInt(exponent, 10, 32)
		if err != nil {
			return d, false
		}
		d.exponent = int(shift)
	}
	significant := strings.TrimRight(d.digits, "0")
	d.exponent += len(d.digits) - len(significant) - len(fraction)
	d.digits = significant
	return d, true
}
