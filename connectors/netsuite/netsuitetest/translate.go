package netsuitetest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// The part of SuiteQL that the server knows is
//
//	SELECT columns FROM table-or-(query) [WHERE condition] [GROUP BY ...] [ORDER BY ...]
//	SELECT columns FROM (query) WHERE ROWNUM <= number [ORDER BY ...]
//
// with the functions below. ROWNUM counts rows before they are sorted, as in Oracle's SQL. What is not sorted comes in any order, and rows that
// are equal in all that they are sorted by, too: https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157960586441.html
var (
	functions = []string{"TO_CHAR", "TO_DATE", "LOWER", "UPPER", "REPLACE", "COUNT", "MAX", "MIN", "NVL", "IN", "COALESCE"}
	words     = []string{"SELECT", "DISTINCT", "FROM", "WHERE", "AND", "OR", "NOT", "IN", "IS", "NULL", "AS", "ORDER", "GROUP", "BY", "LIKE", "ASC", "DESC", "ON", "JOIN", "INNER", "LEFT"}
	refused   = []string{"LIMIT", "OFFSET", "INSERT", "UPDATE", "DELETE", "DROP", "PRAGMA", "ATTACH", "RANDOM"}
	lexeme    = regexp.MustCompile(`^(\s+|'(?:[^']|'')*'|"[^"]*"|[A-Za-z_][A-Za-z0-9_]*|[0-9]+|<=|>=|<>|!=|\|\||[-+*/().,=<>])`)
	name      = regexp.MustCompile(`^[A-Za-z_]`)
)

// timeFormat is the one format of times that the server knows.
const timeFormat = "'YYYY-MM-DD HH24:MI:SS'"

// translate makes a query of the engine's, and names the tables that it reads.
func translate(query string) (statement string, tables []string, f *failure) {
	var tokens []string
	for rest := query; rest != ""; {
		t := lexeme.FindString(rest)
		if t == "" {
			return "", nil, searchError("Invalid or unsupported search.")
		}
		rest = rest[len(t):]
		if strings.TrimSpace(t) != "" {
			tokens = append(tokens, t)
		}
	}
	p := &parser{tokens: tokens}
	statement, f = p.query()
	if f == nil && len(p.tokens) > 0 {
		f = searchError("Invalid or unsupported search.")
	}
	return statement, p.tables, f
}

type parser struct {
	tokens []string
	tables []string
}

func (p *parser) is(word string) bool {
	return len(p.tokens) > 0 && strings.EqualFold(p.tokens[0], word)
}

func (p *parser) take() string {
	t := p.tokens[0]
	p.tokens = p.tokens[1:]
	return t
}

func (p *parser) accept(word string) bool {
	if p.is(word) {
		p.take()
		return true
	}
	return false
}

// query translates a SELECT up to its end or an unmatched parenthesis.
func (p *parser) query() (string, *failure) {
	if !p.accept("SELECT") {
		return "", searchError("Invalid or unsupported search.")
	}
	list, f := p.expression("FROM")
	if f != nil {
		return "", f
	}
	if !p.accept("FROM") {
		return "", searchError("Invalid or unsupported search.")
	}
	from, subquery, f := p.from()
	if f != nil {
		return "", f
	}
	where, group, limit := "", "", "-1"
	if p.accept("WHERE") {
		if p.accept("ROWNUM") {
			if !p.accept("<=") || len(p.tokens) == 0 {
				return "", searchError("Invalid or unsupported search.")
			}
			if limit = p.take(); !subquery {
				return "", searchError("The test server knows ROWNUM only as the whole condition around a query.")
			}
		} else if where, f = p.expression("ORDER", "GROUP"); f != nil {
			return "", f
		} else {
			where = " WHERE " + where
		}
	}
	if p.accept("GROUP") {
		if group, f = p.expression("ORDER"); f != nil {
			return "", f
		}
		group = " GROUP " + group
	}
	order := "RANDOM()"
	if p.accept("ORDER") {
		if !p.accept("BY") {
			return "", searchError("Invalid or unsupported search.")
		}
		if order, f = p.expression(); f != nil {
			return "", f
		}
		// The column id of a table is another one in each row, and leaves nothing open.
		if subquery || !strings.HasSuffix(order, " id") {
			order += ", RANDOM()"
		}
	}
	if subquery {
		// Without a limit the engine would drop the order, which ROWNUM counts in.
		from = fmt.Sprintf("(%s LIMIT %s)", from, limit)
	}
	return "SELECT " + list + " FROM " + from + where + group + " ORDER BY " + order, nil
}

// from translates a table with its alias, or a query in parentheses.
func (p *parser) from() (from string, subquery bool, f *failure) {
	if p.accept("(") {
		inner, f := p.query()
		if f != nil {
			return "", false, f
		}
		if !p.accept(")") {
			return "", false, searchError("Invalid or unsupported search.")
		}
		return inner, true, nil
	}
	table := ""
	for len(p.tokens) > 0 && !p.is("WHERE") && !p.is("ORDER") && !p.is("GROUP") && !p.is(")") {
		t := p.take()
		if !name.MatchString(t) || slices.Contains(refused, strings.ToUpper(t)) {
			return "", false, searchError("Invalid or unsupported search.")
		}
		if table == "" {
			p.tables = append(p.tables, strings.ToLower(t))
		}
		// A word of the engine's, such as transaction, is a name like any other.
		table = strings.TrimSpace(table + ` "` + strings.ToLower(t) + `"`)
	}
	return table, false, nil
}

// expression translates up to one of the words or an unmatched parenthesis.
func (p *parser) expression(until ...string) (string, *failure) {
	var out []string
	depth := 0
	for len(p.tokens) > 0 {
		if depth == 0 && (p.is(")") || slices.ContainsFunc(until, p.is)) {
			break
		}
		switch t := p.take(); {
		case t == "(":
			depth++
			out = append(out, t)
		case t == ")":
			depth--
			out = append(out, t)
		case name.MatchString(t) && p.is("("):
			call, f := p.call(t)
			if f != nil {
				return "", f
			}
			out = append(out, call)
		case slices.Contains(refused, strings.ToUpper(t)):
			return "", searchError("Invalid or unsupported search.")
		case strings.EqualFold(t, "ROWNUM"):
			return "", searchError("The test server knows ROWNUM only as the whole condition around a query.")
		case strings.EqualFold(t, "SYSDATE"):
			out = append(out, "(SELECT now FROM dual)")
		default:
			out = append(out, t)
		}
	}
	if len(out) == 0 || depth != 0 {
		return "", searchError("Invalid or unsupported search.")
	}
	return strings.Join(out, " "), nil
}

// call translates a function's call. Times lie in the engine as the text that TO_CHAR gives in the one format.
func (p *parser) call(function string) (string, *failure) {
	upper := strings.ToUpper(function)
	if slices.Contains(words, upper) && upper != "IN" {
		return function, nil // such as AND (
	}
	if !slices.Contains(functions, upper) {
		return "", searchError("Function %s is not supported.", function)
	}
	if upper == "IN" {
		return function, nil
	}
	p.take()
	if upper == "TO_CHAR" || upper == "TO_DATE" {
		value, f := p.argument()
		if f != nil {
			return "", f
		}
		if !p.accept(",") || len(p.tokens) == 0 || p.take() != timeFormat || !p.accept(")") {
			return "", searchError("The test server knows times only in the format %s.", timeFormat)
		}
		return "(" + value + ")", nil
	}
	arguments, f := p.expression()
	if f != nil {
		return "", f
	}
	if !p.accept(")") {
		return "", searchError("Invalid or unsupported search.")
	}
	if upper == "NVL" {
		upper = "COALESCE"
	}
	return upper + "(" + arguments + ")", nil
}

func (p *parser) argument() (string, *failure) { return p.expression(",") }
