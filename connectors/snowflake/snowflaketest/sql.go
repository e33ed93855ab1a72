package snowflaketest

import (
	"encoding/hex"
	"regexp"
	"strings"
)

// stored is a table.
type stored struct {
	shown   string // its name
	name    string // in the engine
	columns []*storedColumn
	cluster string
	loaded  map[string]bool // files, for 64 days
	temp    bool
}

type storedColumn struct {
	name, kind string
	required   bool
	collation  string
}

func (t *stored) column(name string) *storedColumn {
	for _, c := range t.columns {
		if c.name == name {
			return c
		}
	}
	return nil
}

// shown is the type as DESCRIBE TABLE spells it: https://docs.snowflake.com/en/sql-reference/intro-summary-data-types
func (c *storedColumn) shown() string {
	switch c.kind {
	case "VARCHAR":
		if c.collation != "" { // https://docs.snowflake.com/en/sql-reference/collation
			return "VARCHAR(16777216) COLLATE '" + c.collation + "'"
		}
		return "VARCHAR(16777216)"
	case "TIMESTAMP_TZ", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ":
		return c.kind + "(9)"
	}
	return c.kind
}

// engineType is how the engine keeps a type. Timestamps and VARIANT are texts there.
func engineType(kind string) (string, bool) {
	switch kind {
	case "VARCHAR", "VARIANT", "TIMESTAMP_TZ", "TIMESTAMP_NTZ", "TIMESTAMP_LTZ", "BOOLEAN", "DATE":
		if kind == "BOOLEAN" || kind == "DATE" {
			return kind, true
		}
		return "VARCHAR", true
	case "FLOAT":
		return "DOUBLE", true
	}
	if m := numberType.FindStringSubmatch(kind); m != nil {
		return "DECIMAL(" + m[1] + "," + m[2] + ")", true
	}
	if varcharType.MatchString(kind) {
		return "VARCHAR", true
	}
	return "", false
}

var (
	numberType  = regexp.MustCompile(`^NUMBER\((\d+),(\d+)\)$`)
	varcharType = regexp.MustCompile(`^VARCHAR\((\d+)\)$`)
)

func fullName(parts ...string) string {
	for i := range parts {
		parts[i] = quoted(parts[i])
	}
	return strings.Join(parts, ".")
}

func quoted(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// encoded is a column in the engine, which compares names without their case.
func encoded(name string) string { return "c" + hex.EncodeToString([]byte(name)) }

// decoded is the column that encoded made a name of, and any other name as it is.
func decoded(name string) string {
	if raw, err := hex.DecodeString(strings.TrimPrefix(name, "c")); err == nil && encoded(string(raw)) == name {
		return string(raw)
	}
	return name
}

// token is a part of a statement.
type token struct {
	kind byte   // 'i' quoted identifier, 's' text, 'w' word or number, 'p' anything else
	text string // of identifiers and texts, what they stand for
}

// scan splits a statement: https://docs.snowflake.com/en/sql-reference/identifiers-syntax,
// https://docs.snowflake.com/en/sql-reference/data-types-text#escape-sequences-in-single-quoted-string-constants
func scan(sql string) ([]token, *Error) {
	var tokens []token
	for i := 0; i < len(sql); {
		c := sql[i]
		switch {
		case c == ' ' || c == '\n' || c == '\t':
			i++
		case c == '"':
			end := i + 1
			for end < len(sql) && (sql[end] != '"' || end+1 < len(sql) && sql[end+1] == '"') {
				if sql[end] == '"' {
					end++
				}
				end++
			}
			if end >= len(sql) {
				return nil, fail(syntax, "SQL compilation error: unterminated identifier")
			}
			tokens = append(tokens, token{'i', strings.ReplaceAll(sql[i+1:end], `""`, `"`)})
			i = end + 1
		case c == '\'':
			var text strings.Builder
			for i++; i < len(sql) && sql[i] != '\''; i++ {
				if sql[i] == '\\' && i+1 < len(sql) {
					i++
				}
				text.WriteByte(sql[i])
			}
			if i >= len(sql) {
				return nil, fail(syntax, "SQL compilation error: unterminated string")
			}
			tokens = append(tokens, token{'s', text.String()})
			i++
		case isWord(c):
			end := i
			for end < len(sql) && isWord(sql[end]) {
				end++
			}
			tokens = append(tokens, token{'w', sql[i:end]})
			i = end
		case strings.HasPrefix(sql[i:], "::") || strings.HasPrefix(sql[i:], "=>") || strings.HasPrefix(sql[i:], ">=") || strings.HasPrefix(sql[i:], "<>"):
			tokens = append(tokens, token{'p', sql[i : i+2]})
			i += 2
		default:
			tokens = append(tokens, token{'p', sql[i : i+1]})
			i++
		}
	}
	return tokens, nil
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// shape is a statement with its names and values left out, to look up whether the server knows it.
func shape(tokens []token) string {
	var b strings.Builder
	for _, t := range tokens {
		b.WriteByte(' ')
		switch t.kind {
		case 'i':
			b.WriteByte('I')
		case 's':
			b.WriteByte('S')
		default:
			b.WriteString(t.text)
		}
	}
	return b.String()[min(1, b.Len()):]
}
