package bigquerytest

import (
	"bytes"
	"encoding/json"
	"math/big"
	"strconv"
	"strings"
)

// normal is how a column of type JSON keeps a text: without spaces, of members with one name the first only, numbers as 64-bit integers or floats. A number
// that neither holds is refused, as PARSE_JSON does by default, and what nests deeper than 500.
// https://cloud.google.com/bigquery/docs/reference/standard-sql/json_functions#parse_json and
// https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#json_type
func normal(text string) (any, string) {
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	var out bytes.Buffer
	if problem := normalValue(d, &out, 0); problem != "" {
		return nil, problem
	}
	if _, err := d.Token(); err == nil {
		return nil, "Invalid JSON: more than one value"
	}
	return out.String(), ""
}

func normalValue(d *json.Decoder, out *bytes.Buffer, depth int) string {
	token, err := d.Token()
	if err != nil {
		return "Invalid JSON"
	}
	if depth > 500 {
		return "JSON nests too deep"
	}
	switch v := token.(type) {
	case json.Delim:
		return normalMembers(d, out, depth, v)
	case json.Number:
		return normalNumber(v.String(), out)
	default:
		e := json.NewEncoder(out)
		e.SetEscapeHTML(false)
		if e.Encode(v) != nil {
			return "Invalid JSON"
		}
		out.Truncate(out.Len() - 1) // the line's end
	}
	return ""
}

func normalMembers(d *json.Decoder, out *bytes.Buffer, depth int, open json.Delim) string {
	out.WriteString(open.String())
	seen := make(map[string]bool)
	for first := true; d.More(); {
		var member bytes.Buffer
		name := ""
		if open == '{' {
			token, err := d.Token()
			if err != nil {
				return "Invalid JSON"
			}
			name = token.(string)
			spelled, _ := json.Marshal(name)
			member.Write(spelled)
			member.WriteByte(':')
		}
		if problem := normalValue(d, &member, depth+1); problem != "" {
			return problem
		}
		if open == '{' && seen[name] {
			continue
		}
		seen[name] = true
		if !first {
			out.WriteByte(',')
		}
		first = false
		out.Write(member.Bytes())
	}
	token, err := d.Token()
	if err != nil {
		return "Invalid JSON"
	}
	out.WriteString(token.(json.Delim).String())
	return ""
}

func normalNumber(literal string, out *bytes.Buffer) string {
	if _, err := strconv.ParseInt(literal, 10, 64); err == nil {
		out.WriteString(literal)
		return ""
	}
	if _, err := strconv.ParseUint(literal, 10, 64); err == nil {
		out.WriteString(literal)
		return ""
	}
	f, err := strconv.ParseFloat(literal, 64)
	if err != nil {
		return "Invalid JSON: a number cannot be stored without loss of precision"
	}
	spelled := strconv.FormatFloat(f, 'g', -1, 64)
	exact, _ := new(big.Rat).SetString(literal)
	if back, _ := new(big.Rat).SetString(spelled); exact == nil || back.Cmp(exact) != 0 {
		return "Invalid JSON: a number cannot be stored without loss of precision"
	}
	out.WriteString(spelled)
	return ""
}
