package redshift

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
)

// A number without an exponent is the same number.
func TestPlain(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]string{
		"0": "0", "-1.50": "-1.50", "1E+2": "100", "1.25e1": "12.5", "-1.25e-3": "-0.00125", "12345e-5": "0.12345", "0e999999999": "0", "-0.0e-5": "0", "100e-2": "1.00",
		"123456789012345678.5e1": "1234567890123456785", "1e19": "10000000000000000000", "0.001e3": "1",
	} {
		got := plain(literal)
		if got != want {
			t.Errorf("%s became %s, want %s", literal, got, want)
		}
		if strings.Contains(literal, "999") {
			continue
		}
		was, _ := new(big.Rat).SetString(literal)
		if is, ok := new(big.Rat).SetString(got); !ok || is.Cmp(was) != 0 {
			t.Errorf("%s became %s, another number", literal, got)
		}
	}
}

// What is exact survives a double.
func TestIsExact(t *testing.T) {
	t.Parallel()
	for literal, want := range map[string]bool{
		"0": true, "-0": true, "0.0": true, "0e400": true, "1e5": true, "0.1": true, "0.10": true, "-9223372036854775808": true, "9223372036854775808": false, "9007199254740993.0": false,
		"1e400": false, "1e-400": false, "1e-999999999": false, "0.1234567890123456789": false, "123456789012345678901234567890": false, "5e-324": true,
	} {
		if isExact(literal) != want {
			t.Errorf("%s: want %v", literal, want)
		}
	}
}

// Strings and values are JSON, and the same.
func TestLines(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"", "a", `"\`, "\n\r\t\x00\x01\x1f\x7f", "é😀\u2028", `\u0041`, strings.Repeat(`\"`, 100)} {
		var back string
		if err := json.Unmarshal(appendString(nil, s), &back); err != nil || back != s {
			t.Errorf("%q became %q, %v", s, back, err)
		}
	}
	for value, want := range map[string]string{
		" { \"a b\" : [ 1 ,\t2 , \"x \\\" y\" ] ,\r\n \"c\":{ } } ": `{"a b":[1,2,"x \" y"],"c":{}}`, ` "\\" `: `"\\"`, "\n7 ": "7",
	} {
		if got := string(appendCompact(nil, value)); got != want {
			t.Errorf("%q became %q, want %q", value, got, want)
		}
	}
}

// Names are such that Redshift takes them, and fold as it folds them.
func TestSpell(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{"Orders": "orders", `a"B`: "a_b", "GRÖSSE": "grÖsse", " a ": "_a_", "a b": "a b", "tab\there": "tab_here", "注文": "注文", "\xff": "_"} {
		if got := spell(name); got != want || spell(got) != got {
			t.Errorf("%q became %q, want %q", name, got, want)
		}
	}
}

// A line of a file is a row, also where the file's name is cut; what is not certain is none.
func TestRowAt(t *testing.T) {
	t.Parallel()
	u := &upload{files: &files{bucket: "b"}, keys: []string{"p/1-aa.json.gz", "p/1-bb.json.gz", "p/1-cc.manifest"}, starts: []int{0, 700}}
	for url, want := range map[string]int{"s3://b/p/1-aa.json.gz": 4, "s3://b/p/1-bb.json.gz": 704, "s3://b/p/1-b": 704, "s3://b/p/1-": -1, "s3://b/p/1-cc.manifest": -1, "": -1, "s3://b/x": -1} {
		if got := u.rowAt(url, 5); got != want {
			t.Errorf("line 5 of %q is row %d, want %d", url, got, want)
		}
	}
}
