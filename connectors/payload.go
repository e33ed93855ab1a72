package connectors

import (
	"bytes"
	"unicode/utf8"

	"github.com/tidwall/gjson"
)

// MaxDepth is how deep the arrays and objects of a payload may nest. Scanners recurse, and a stack that
// overflows ends the process: so depth is counted before anything else looks at the bytes.
const MaxDepth = 1000

var byteOrderMark = []byte("\xef\xbb\xbf")

// CheckPayload refuses, as Invalid, what is not exactly one JSON value (RFC 8259) in valid UTF-8, without
// a byte order mark, nested at most MaxDepth deep. What it lets pass is kept byte for byte (I8): also
// duplicate keys, numbers of any size, escaped NULs and lone surrogates.
func CheckPayload(op string, body []byte) error {
	switch {
	case len(body) == 0:
		return Errorf(Invalid, op, "the body is empty; want JSON")
	case bytes.HasPrefix(body, byteOrderMark):
		return Errorf(Invalid, op, "the body starts with a byte order mark, which JSON must not have")
	case !utf8.Valid(body):
		return Errorf(Invalid, op, "the body is not valid UTF-8")
	case deeperThan(body, MaxDepth):
		return Errorf(Invalid, op, "the body nests deeper than %d levels", MaxDepth)
	case !gjson.ValidBytes(body):
		return Errorf(Invalid, op, "the body is not valid JSON")
	}
	return nil
}

// deeperThan reports whether arrays and objects nest deeper than limit. It is exact for valid JSON and
// never too low for the rest, up to the place where that stops being valid.
func deeperThan(body []byte, limit int) bool {
	if bytes.Count(body, []byte{'{'})+bytes.Count(body, []byte{'['}) <= limit {
		return false // most bodies, and counting is much faster than looking
	}
	depth := 0
	for i := 0; i < len(body); i++ {
		switch body[i] {
		case '{', '[':
			if depth++; depth > limit {
				return true
			}
		case '}', ']':
			depth--
		case '"':
			for i++; i < len(body) && body[i] != '"'; i++ {
				if body[i] == '\\' {
					i++
				}
			}
		}
	}
	return false
}
