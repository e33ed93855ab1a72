package connectors_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"tributary/connectors"
)

func TestCheckPayload(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	cases := map[string]struct {
		body string
		want string // part of the refusal; empty = accepted
	}{
		"object":               {`{"a": 1}`, ""},
		"scalar":               {`1`, ""},
		"space around":         {" {} \n", ""},
		"duplicate keys":       {`{"a":1,"a":2}`, ""},
		"huge number":          {`{"a":` + strings.Repeat("9", 5000) + `e99999}`, ""},
		"escaped NUL":          {`{"a":"\u0000"}`, ""},
		"lone surrogate":       {`{"a":"\ud800"}`, ""},
		"as deep as allowed":   {deep(connectors.MaxDepth), ""},
		"brackets in a string": {`{"a":"` + strings.Repeat("[", 5000) + `"}`, ""},
		"brackets after an escaped quote": {
			`{"a":"\"` + strings.Repeat("[", 5000) + `"}`, ""},
		"empty":                  {"", "empty"},
		"byte order mark":        {"\xef\xbb\xbf{}", "byte order mark"},
		"invalid UTF-8":          {"{\"a\":\"\xff\"}", "UTF-8"},
		"UTF-16":                 {"\xff\xfe{\x00}\x00", "UTF-8"},
		"too deep":               {deep(connectors.MaxDepth + 1), "deeper"},
		"megabytes of brackets":  {strings.Repeat("[", 32<<20), "deeper"},
		"megabytes of objects":   {strings.Repeat(`{"a":`, 8<<20), "deeper"},
		"NaN":                    {`{"a":NaN}`, "not valid JSON"},
		"raw NUL":                {"{\"a\":\"\x00\"}", "not valid JSON"},
		"two values":             {`{}{}`, "not valid JSON"},
		"truncated":              {`{"a":`, "not valid JSON"},
		"form":                   {"payload=%7B%7D", "not valid JSON"},
		"comment":                {`{} // no`, "not valid JSON"},
		"number with plus":       {`+1`, "not valid JSON"},
		"number with zero ahead": {`01`, "not valid JSON"},
		"only space":             {`  `, "not valid JSON"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := connectors.CheckPayload("read", []byte(c.body))
			if c.want == "" {
				if err != nil {
					t.Fatalf("refused: %v", err)
				}
				return
			}
			var e *connectors.Error
			if !errors.As(err, &e) || e.Kind != connectors.Invalid || !strings.Contains(e.Message, c.want) {
				t.Fatalf("got %v, want Invalid with %q", err, c.want)
			}
		})
	}
}

// FuzzCheckPayload compares with encoding/json: what passes is JSON by its rules too, and what it calls
// JSON is refused for a reason of our own only.
func FuzzCheckPayload(f *testing.F) {
	for _, s := range []string{`{"a":[1,2,{"b":null}]}`, `"\ud800"`, `-0.0e+1`, "{\"a\":\"\xff\"}", `[[[`, `{"a":1,}`, "\t1\n", `1e`, `"\u12"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		err := connectors.CheckPayload("read", body)
		valid := json.Valid(body) && utf8.Valid(body)
		switch {
		case err == nil && !valid:
			t.Fatalf("accepted %q", body)
		case err != nil && valid && !strings.Contains(err.Error(), "deeper"):
			t.Fatalf("refused %q: %v", body, err)
		}
	})
}
