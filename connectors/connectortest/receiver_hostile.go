package connectortest

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"tributary/connectors"
)

// receiverCanary stands in hostile bodies and must not come out in errors and logs.
const receiverCanary = "canary-5b0c1d7e"

// receiverHostile are values that have broken readers of JSON. Those that are JSON may be refused as Invalid or kept
// byte for byte; the others must be refused.
func receiverHostile() map[string]string {
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	return map[string]string{
		"duplicate keys":      `{"id":1,"id":2,"id":{"a":"` + receiverCanary + `"}}`,
		"100 levels":          deep(100),
		"5,000 levels":        deep(5000),
		"500,000 levels":      deep(500_000),
		"1 MB open brackets":  strings.Repeat("[", 1<<20),
		"1 MB open objects":   strings.Repeat(`{"a":`, 1<<20/5),
		"NaN":                 `NaN`,
		"infinity":            `-Infinity`,
		"invalid UTF-8":       "\"" + receiverCanary + "\xc3\x28\"",
		"overlong UTF-8":      "\"\xc0\x80\"",
		"surrogate in UTF-8":  "\"\xed\xa0\x80\"",
		"raw NUL":             "\"" + receiverCanary + "\x00\"",
		"escaped NUL":         `"` + receiverCanary + `\u0000"`,
		"lone surrogate":      `"\ud800"`,
		"swapped surrogates":  `"\udc00\ud800"`,
		"number of 10,000":    strings.Repeat("9", 10_000),
		"huge exponent":       `1e999999999`,
		"tiny exponent":       `-1E-999999999`,
		"long fraction":       `0.` + strings.Repeat("1", 10_000),
		"leading zero":        `007`,
		"hexadecimal":         `0x1F`,
		"single quotes":       `'` + receiverCanary + `'`,
		"comment":             `/* ` + receiverCanary + ` */ 1`,
		"trailing comma":      `[1,]`,
		"raw newline in text": "\"a\nb\"",
		"open text":           `"` + receiverCanary,
		"open escape":         `"\`,
		"bad escape":          `"\x41"`,
		"short \\u":           `"\u12"`,
		"slashes":             `"\/\/"`,
		"key of 100 KB":       `{"` + strings.Repeat("k", 100<<10) + `":1}`,
		"empty keys":          `{"":{"":""}}`,
		"prototype":           `{"__proto__":{"a":1},"constructor":null}`,
		"line separators":     "\"\u2028\u2029\"",
		"text with a BOM":     "\"\ufeff\"",
		"spaces":              " \t\r\n 1 \t\r\n ",
		"form feed":           "\f1",
		"null":                `null`,
		"true":                `true`,
		"empty object":        `{}`,
		"empty array":         `[]`,
		"10,000 nulls":        `[` + strings.Repeat("null,", 9_999) + `null]`,
	}
}

// testHostileBodies signs each hostile value as the app would, as the whole body and within a good one. What is
// accepted is kept byte for byte, what is refused is Invalid, and nothing panics.
func (s *receiverSuite) testHostileBodies(t *testing.T) {
	r := s.open(t, s.Connect(s.Secret), receiverNow)
	sample := s.Samples[0].Delivery
	bodies := map[string]string{
		"no body":              "",
		"only a BOM":           "\ufeff",
		"a BOM before":         "\ufeff" + string(sample.Body),
		"UTF-16":               "\xff\xfe{\x00}\x00",
		"two bodies":           string(sample.Body) + string(sample.Body),
		"something after":      string(sample.Body) + receiverCanary,
		"half of it":           string(sample.Body[:len(sample.Body)/2]),
		"gzip":                 "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03" + receiverCanary,
		"a form":               "payload=%7B%22a%22%3A%22" + receiverCanary + "%22%7D",
		"XML":                  "<a>" + receiverCanary + "</a>",
		"megabyte of one byte": strings.Repeat("\x00", 1<<20),
	}
	open := bytes.IndexByte(sample.Body, '{')
	if open < 0 {
		t.Fatal("the first sample's body holds no object")
	}
	for name, value := range receiverHostile() {
		bodies[name] = value
		bodies[name+", within"] = string(sample.Body[:open+1]) + `"hostile":` + value + `,` + string(sample.Body[open+1:])
	}
	for name, body := range bodies {
		d := sample
		d.Body = []byte(body)
		d = s.signed(d, s.Secret, receiverNow)
		got, err := r.Receive(t.Context(), d)
		switch {
		case err != nil:
			s.checkError(t, name, err, connectors.Invalid)
		case !json.Valid(d.Body) || !utf8.Valid(d.Body):
			t.Errorf("%s: accepted, though it is not JSON", name)
		case len(got.Records)+len(got.Unusable) == 0 && strings.HasSuffix(name, ", within"):
			t.Errorf("%s: accepted and dropped (I4)", name)
		default:
			s.checkRecords(t, name, d, got)
		}
	}
}
