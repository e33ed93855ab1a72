package snowflaketest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/duckdb/duckdb-go/v2"
)

// translate makes a statement of the engine's.
func (s *Server) translate(session *session, tokens []token, r *request) (string, *Error) {
	var out strings.Builder
	binds := 0
	put := func(text string) { out.WriteString(text + " ") }
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		at := func(n int, text string) bool {
			return i+n < len(tokens) && tokens[i+n].text == text && tokens[i+n].kind != 's'
		}
		switch {
		case t.kind == 'i' && at(1, ".") && at(3, "."):
			table, e := s.find(session, tokens[i:i+5])
			if e != nil {
				return "", e
			}
			put(table.name)
			i += 4
		case t.kind == 'i' && at(1, ":"):
			kinds, next := casts(tokens, i+3)
			put(lineValue(encoded(t.text), tokens[i+2].text, kinds))
			i = next - 1
		case t.kind == 'i':
			put(encoded(t.text))
		case t.kind == 's':
			put(text(t.text))
		case t.text == "?":
			binds++
			b, ok := r.Bindings[itoa(int64(binds))]
			if !ok || b.Type != "TEXT" && b.Type != "FIXED" {
				return "", fail(syntax, "SQL compilation error: Bind variable ? not set or of type %s.", b.Type)
			}
			value := "NULL"
			if b.Value != nil {
				value = *b.Value
				if b.Type == "TEXT" {
					value = text(value)
				}
			}
			kinds, next := casts(tokens, i+1)
			for _, kind := range kinds {
				engine, _ := engineType(kind)
				value = "CAST(" + value + " AS " + engine + ")"
			}
			put(value)
			i = next - 1
		case t.text == "TO_VARCHAR" && at(2, "CURRENT_TRANSACTION"):
			value := "NULL"
			if session.state.tx != "" {
				value = text(session.state.tx)
			}
			put(value)
			i += 5
		case t.text == "PARSE_JSON":
			put("sf_parse_json")
		case t.text == "CURRENT_TIMESTAMP":
			put(text(time.Now().UTC().Format("2006-01-02T15:04:05.999999999Z")))
			i += 2
		default:
			put(t.text)
		}
	}
	if binds != len(r.Bindings) {
		return "", fail(syntax, "SQL compilation error: %d values for %d bind variables", len(r.Bindings), binds)
	}
	return out.String(), nil
}

func text(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// casts reads :: TYPE as often as it stands there.
func casts(tokens []token, i int) (kinds []string, next int) {
	for i+1 < len(tokens) && tokens[i].kind == 'p' && tokens[i].text == "::" {
		kind := tokens[i+1].text
		i += 2
		if i < len(tokens) && tokens[i].text == "(" {
			for ; tokens[i].text != ")"; i++ {
				kind += tokens[i].text
			}
			kind += ")"
			i++
		}
		kinds = append(kinds, kind)
	}
	return kinds, i
}

// lineValue is a field of a line, cast.
func lineValue(line, field string, kinds []string) string {
	value := "json_extract_string(" + line + ", '$." + field + "')"
	for _, kind := range kinds {
		switch {
		case strings.HasPrefix(kind, "TIMESTAMP"):
			value = "sf_timestamp(" + value + ")"
		case varcharType.MatchString(kind):
			value = "sf_varchar(" + value + ", '" + varcharType.FindStringSubmatch(kind)[1] + "')"
		case kind == "VARCHAR" || kind == "VARIANT":
		default:
			engine, _ := engineType(kind)
			value = "CAST(" + value + " AS " + engine + ")"
		}
	}
	return value
}

// explain turns an error of the engine's into one of Snowflake's. It quotes the value, as Snowflake does.
func explain(ctx context.Context, err error) *Error {
	said := err.Error()
	switch {
	case ctx.Err() != nil:
		return fail(cancelled, "SQL execution canceled")
	case strings.Contains(said, refusedTime):
		return fail(notTimestamp, "Timestamp '%s' is not recognized", said)
	case strings.Contains(said, refusedJSON):
		return fail(notJSON, "Error parsing JSON: %s", said)
	case strings.Contains(said, "Binder Error"):
		return fail(invalidName, "SQL compilation error: invalid identifier: %s", said)
	case strings.Contains(said, "NOT NULL constraint"):
		return fail(notNull, "NULL result in a non-nullable column: %s", said)
	case strings.Contains(said, "Conversion Error") || strings.Contains(said, "Could not"):
		return fail(notNumeric, "Numeric value '%s' is not recognized", said)
	}
	return fail(internalError, "%v", err)
}

const (
	refusedTime = "no timestamp"
	refusedJSON = "no JSON"
)

// function is one of Snowflake's that the engine has not.
type function struct {
	name   string
	values int
	run    func(values []string) (string, error)
}

var functions = []function{
	{"sf_parse_json", 2, func(v []string) (string, error) {
		if v[1] != "d" {
			return "", errors.New(refusedJSON + ": parameter")
		}
		return normal(v[0])
	}},
	{"sf_timestamp", 1, func(v []string) (string, error) {
		t, err := time.Parse(time.RFC3339Nano, v[0])
		if err != nil {
			return "", fmt.Errorf("%s: %s", refusedTime, v[0])
		}
		return t.UTC().Format(time.RFC3339Nano), nil
	}},
	{"sf_varchar", 2, func(v []string) (string, error) {
		most, err := strconv.Atoi(v[1])
		if runes := []rune(v[0]); len(runes) > most { // a cast cuts, other than a column
			return string(runes[:most]), err
		}
		return v[0], err
	}},
}

func (f function) Config() duckdb.ScalarFuncConfig {
	varchar, _ := duckdb.NewTypeInfo(duckdb.TYPE_VARCHAR) // a type that there is
	return duckdb.ScalarFuncConfig{InputTypeInfos: slices.Repeat([]duckdb.TypeInfo{varchar}, f.values), ResultTypeInfo: varchar}
}

func (f function) Executor() duckdb.ScalarFuncExecutor {
	return duckdb.ScalarFuncExecutor{RowExecutor: func(values []driver.Value) (any, error) {
		var texts []string
		for _, v := range values {
			texts = append(texts, v.(string))
		}
		return f.run(texts)
	}}
}

func register(db *sql.DB) error {
	conn, err := db.Conn(context.Background())
	if err != nil {
		return err
	}
	defer conn.Close()
	for _, f := range functions {
		if err := duckdb.RegisterScalarUDF(conn, f.name, f); err != nil {
			return err
		}
	}
	return nil
}

// fill appends lines to a table of one column.
func fill(ctx context.Context, conn *sql.Conn, t *stored, lines []string) error {
	return conn.Raw(func(of any) error {
		catalog := ""
		if t.temp {
			catalog = "temp"
		}
		a, err := duckdb.NewAppender(of.(driver.Conn), catalog, "", t.name)
		if err != nil {
			return err
		}
		for _, line := range lines {
			if err := a.AppendRow(line); err != nil {
				_ = a.Close()
				return err
			}
		}
		return a.Close()
	})
}
