package snowflake

import (
	"math"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/table"
)

// refusedByVariant says why a VARIANT can't hold a payload's values; "" where it can. It keeps numbers of up to 38 digits exactly, of which 37 may be behind the point, others as
// floats: https://docs.snowflake.com/en/sql-reference/data-types-semistructured#variant, https://docs.snowflake.com/en/sql-reference/data-types-numeric#number
func refusedByVariant(r *connectors.Record) string {
	if len(r.Data) == 0 {
		return ""
	}
	if err := connectors.CheckPayload("payload", r.Data); err != nil {
		return "a VARIANT does not hold the payload: " + connectors.AsError("", err).Message
	}
	return unfit(gjson.ParseBytes(r.Data))
}

func unfit(v gjson.Result) (reason string) {
	switch v.Type {
	case gjson.Number:
		if !exact(v.Raw) {
			return "a VARIANT would round a number of the payload; json: string keeps it"
		}
	case gjson.String:
		if strings.Contains(v.Raw, `\u`) && !paired(v.Raw) {
			return "a VARIANT does not hold half a surrogate pair; json: string keeps it"
		}
	case gjson.JSON:
		v.ForEach(func(key, value gjson.Result) bool {
			if key.Type == gjson.String {
				reason = unfit(key)
			}
			if reason == "" {
				reason = unfit(value)
			}
			return reason == ""
		})
	}
	return reason
}

// paired says that no half of a surrogate pair stands alone. NUL is a character here, as any other.
func paired(raw string) bool { return table.IsPlain(strings.ReplaceAll(raw, `\u0000`, `\u0001`)) }

const variantDigits, variantScale = 38, 37

// exact says that a number has at most 38 digits and 37 behind the point, or is one that a float gives back: of at most 15 digits, and not among the smallest.
func exact(literal string) bool {
	if len(literal) <= variantDigits && !strings.ContainsAny(literal, "eE") {
		return true
	}
	if plain, ok := expand(literal, variantDigits); ok && digitsOf(plain) <= variantDigits && scaleOf(plain) <= variantScale {
		return true
	}
	f, err := strconv.ParseFloat(literal, 64)
	mantissa, _, _ := strings.Cut(strings.ToLower(literal), "e")
	return err == nil && math.Abs(f) > smallestNormal && digitsOf(mantissa) <= floatDigits
}

const (
	floatDigits    = 15
	smallestNormal = 0x1p-1022
)

// digitsOf counts the digits that a number without exponent needs.
func digitsOf(plain string) int {
	whole, fraction, _ := strings.Cut(strings.TrimLeft(strings.TrimPrefix(plain, "-"), "0"), ".")
	fraction = strings.TrimRight(fraction, "0")
	if whole == "" {
		fraction = strings.TrimLeft(fraction, "0")
	}
	return len(whole) + len(fraction)
}

// scaleOf counts those of them behind the point.
func scaleOf(plain string) int {
	_, fraction, _ := strings.Cut(plain, ".")
	return len(strings.TrimRight(fraction, "0"))
}

// expand spells a JSON number without an exponent. False: it would need more than most digits before or behind the point.
func expand(literal string, most int) (string, bool) {
	mantissa, exponent, found := strings.Cut(strings.ToLower(literal), "e")
	if !found {
		return literal, true
	}
	shift, err := strconv.Atoi(exponent)
	sign := ""
	if strings.HasPrefix(mantissa, "-") {
		sign, mantissa = "-", mantissa[1:]
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	if strings.Trim(whole+fraction, "0") == "" {
		return sign + "0", true
	}
	if err != nil || shift > 1000 || shift < -1000 {
		return "", false
	}
	point, digits := len(whole)+shift, whole+fraction
	if point <= 0 {
		digits, point = strings.Repeat("0", 1-point)+digits, 1
	}
	if point > len(digits) {
		digits += strings.Repeat("0", point-len(digits))
	}
	whole, fraction = strings.TrimLeft(digits[:point-1], "0")+digits[point-1:point], strings.TrimRight(digits[point:], "0")
	if len(whole) > most || len(fraction) > most {
		return "", false
	}
	if fraction != "" {
		fraction = "." + fraction
	}
	return sign + whole + fraction, true
}
