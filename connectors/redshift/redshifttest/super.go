package redshifttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// parseSuper is a JSON value as SUPER keeps it: without white space, integers of 64 bits whole and other numbers as doubles, so that what a connector should have kept
// off is seen to be lost. https://docs.aws.amazon.com/redshift/latest/dg/r_SUPER_type.html
func parseSuper(raw []byte) (value, problem string) {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var out strings.Builder
	if problem := superValue(d, &out, 0); problem != "" {
		return "", problem
	}
	if _, err := d.Token(); err != io.EOF {
		return "", "more than one value "
	}
	if strings.Contains(out.String(), `\u0000`) {
		return "", "a NUL "
	}
	return out.String(), ""
}

func superValue(d *json.Decoder, out *strings.Builder, depth int) string {
	token, err := d.Token()
	if err != nil {
		return "Invalid JSON "
	}
	if depth > 1000 {
		return "nesting is deeper than 1000 "
	}
	switch t := token.(type) {
	case json.Delim:
		out.WriteByte(byte(t))
		names := make(map[string]bool)
		for n := 0; d.More(); n++ {
			if n > 0 {
				out.WriteByte(',')
			}
			if t == '{' {
				name, err := d.Token()
				text, ok := name.(string)
				if err != nil || !ok {
					return "Invalid JSON "
				}
				if names[text] {
					return "duplicate attribute "
				}
				names[text] = true
				if problem := superString(text, out); problem != "" {
					return problem
				}
				out.WriteByte(':')
			}
			if problem := superValue(d, out, depth+1); problem != "" {
				return problem
			}
		}
		end, err := d.Token()
		if err != nil {
			return "Invalid JSON "
		}
		out.WriteByte(byte(end.(json.Delim)))
	case string:
		return superString(t, out)
	case json.Number:
		if _, err := strconv.ParseInt(t.String(), 10, 64); err == nil {
			out.WriteString(t.String())
			return ""
		}
		f, err := t.Float64()
		if err != nil {
			return "number out of range "
		}
		out.WriteString(strconv.FormatFloat(f, 'g', -1, 64))
	default:
		fmt.Fprint(out, map[any]string{nil: "null", true: "true", false: "false"}[t])
	}
	return ""
}

func superString(s string, out *strings.Builder) string {
	if len(s) > 65535 {
		return "String value exceeds the max size of 65535 bytes "
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return "Invalid string "
	}
	out.WriteString(strings.TrimSpace(b.String()))
	return ""
}
