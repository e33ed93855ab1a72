package snowflaketest

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"strconv"
	"strings"
)

// Variant is how VARIANT spells a JSON text, or the text itself where it is none.
func Variant(text string) string {
	if spelled, err := normal(text); err == nil {
		return spelled
	}
	return text
}

// normal is how VARIANT keeps a JSON text: see the package.
func normal(text string) (string, error) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil || d.More() {
		return "", errors.New(refusedJSON + ": " + text)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(numbers(v)); err != nil { // with the members of objects in order
		return "", err
	}
	return strings.TrimSuffix(out.String(), "\n"), nil
}

func numbers(v any) any {
	switch v := v.(type) {
	case json.Number:
		return number(v.String())
	case []any:
		for i := range v {
			v[i] = numbers(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = numbers(v[k])
		}
	}
	return v
}

// https://docs.snowflake.com/en/sql-reference/data-types-numeric#number
const precision, scale = 38, 37

// number is exact within 38 digits, at most 37 of them behind the point, else a float.
func number(literal string) json.Number {
	if _, exponent, found := strings.Cut(strings.ToLower(literal), "e"); found {
		if n, err := strconv.Atoi(exponent); err != nil || n > 400 || n < -400 {
			f, _ := strconv.ParseFloat(literal, 64) // 0 or infinite
			return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
		}
	}
	r, ok := new(big.Rat).SetString(literal)
	if !ok {
		return json.Number(literal)
	}
	exact := r.FloatString(scale)
	exact = strings.TrimSuffix(strings.TrimRight(exact, "0"), ".")
	if back, _ := new(big.Rat).SetString(exact); back != nil && back.Cmp(r) == 0 && len(strings.NewReplacer("-", "", ".", "").Replace(strings.TrimPrefix(exact, "0."))) <= precision {
		return json.Number(exact)
	}
	f, _ := r.Float64()
	return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
}
