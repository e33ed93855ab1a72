package redshift

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/table"
)

// unfitForSuper says why a SUPER would not hold a JSON value without loss; "" where it does. SUPER takes strings of 65,535 bytes and 1,000 levels
// (https://docs.aws.amazon.com/redshift/latest/dg/limitations-super.html), objects without two attributes of one name
// (https://docs.aws.amazon.com/redshift/latest/dg/super-configurations.html), and numbers in the types that Redshift has
// (https://docs.aws.amazon.com/redshift/latest/dg/r_SUPER_type.html); that it keeps all digits is certain of 64-bit integers and of what a double is written as.
func unfitForSuper(data []byte) string {
	if err := connectors.CheckPayload("", data); err != nil {
		return "it is not valid JSON, or nests too deep"
	}
	return unfit(gjson.ParseBytes(data))
}

func unfit(v gjson.Result) (reason string) {
	switch {
	case v.Type == gjson.String && !table.IsPlain(v.Raw):
		return "a string has a NUL or half a surrogate pair"
	case v.Type == gjson.String && len(v.Str) > maxText:
		return fmt.Sprintf("a string is longer than %d bytes", maxText)
	case v.Type == gjson.Number && !isExact(v.Raw):
		return "a number is neither one of 64 bits nor one that a double holds"
	case v.IsObject():
		names := make(map[string]bool)
		v.ForEach(func(name, value gjson.Result) bool {
			if names[name.Str] {
				reason = "an object has two fields of one name"
			}
			names[name.Str] = true
			if reason == "" {
				reason = unfit(name)
			}
			if reason == "" {
				reason = unfit(value)
			}
			return reason == ""
		})
	case v.IsArray():
		v.ForEach(func(_, value gjson.Result) bool {
			reason = unfit(value)
			return reason == ""
		})
	}
	return reason
}

// isExact says that a number is a 64-bit integer, or what a double is written as.
func isExact(literal string) bool {
	if _, err := strconv.ParseInt(literal, 10, 64); err == nil {
		return true
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil || len(literal) > 400 {
		return false
	}
	if f == 0 {
		mantissa, _, _ := strings.Cut(strings.ToLower(literal), "e")
		return !strings.ContainsAny(mantissa, "123456789")
	}
	was, ok := new(big.Rat).SetString(literal)
	is, _ := new(big.Rat).SetString(strconv.FormatFloat(f, 'g', -1, 64))
	return ok && was.Cmp(is) == 0
}

// plain spells a number, of no more digits than the dialect has, without an exponent.
func plain(literal string) string {
	mantissa, exponent, _ := strings.Cut(strings.ToLower(literal), "e")
	if exponent == "" {
		return literal
	}
	shift, _ := strconv.Atoi(exponent) // bounded by the digits, but for a zero
	digits, negative := strings.CutPrefix(mantissa, "-")
	whole, part, _ := strings.Cut(digits, ".")
	all := whole + part
	if !strings.ContainsAny(all, "123456789") {
		return "0"
	}
	point := len(whole) + shift
	if point < 0 {
		all, point = strings.Repeat("0", -point)+all, 0
	}
	if point > len(all) {
		all += strings.Repeat("0", point-len(all))
	}
	out := all[:point] + "." + all[point:]
	out = strings.TrimSuffix(strings.TrimLeft(out, "0"), ".")
	if strings.HasPrefix(out, ".") {
		out = "0" + out
	}
	if negative {
		out = "-" + out
	}
	return out
}
