package netsuite

import (
	"regexp"
	"slices"
	"strings"
)

// maxQuery bounds a query of the user's own in bytes.
const maxQuery = 32 << 10

// token finds the next piece of a query: a text, a quoted name, a word or number, or one other character. Texts end where they are meant to, so
// that what looks like a keyword in one is none.
var token = regexp.MustCompile(`(?s)^(\s+|'(?:[^']|'')*'|"[^"]*"|[A-Za-z0-9_$#]+|.)`)

// checkQuery says what keeps a query of the user's own from being read page by page, or "". It must be one SELECT that names its columns, the one
// for the id and the one for the time of change among them, and leave order and limit to what is put around it. Whether its tables and columns are
// there, only NetSuite knows.
func checkQuery(query, id, changed string) string {
	if len(query) > maxQuery {
		return "it is longer than 32 KiB"
	}
	tokens, problem := tokens(query)
	if problem != "" {
		return problem
	}
	if len(tokens) == 0 || !strings.EqualFold(tokens[0], "SELECT") {
		return "it must begin with SELECT"
	}
	list, rest, problem := clauses(tokens[1:])
	if problem != "" {
		return problem
	}
	if rest == nil {
		return "it has no FROM"
	}
	found := map[string]bool{}
	for _, column := range list {
		if last := column[len(column)-1]; last == "*" {
			return "it must name its columns instead of *: a column that comes twice can't be read"
		}
		name := nameOf(column)
		switch {
		case strings.EqualFold(name, changedColumn):
			return "no column may be called " + changedColumn
		case name != "" && found[strings.ToLower(name)]:
			return "two columns are called " + name
		case strings.EqualFold(name, changed) && strings.EqualFold(column[0], "TO_CHAR"):
			return "the column " + changed + " must be the date itself, not a text made of it with TO_CHAR"
		}
		found[strings.ToLower(name)] = true
	}
	switch {
	case !found[strings.ToLower(id)]:
		return "it must select the id: a whole number in a column called " + id + ", or what the field id says"
	case !found[strings.ToLower(changed)]:
		return "it must select the time of the last change in a column called " + changed + ", or what the field changed says"
	}
	return ""
}

// tokens cuts a query into its pieces, without spaces.
func tokens(query string) (out []string, problem string) {
	for query != "" {
		t := token.FindString(query)
		switch {
		case strings.HasPrefix(query, "--"), strings.HasPrefix(query, "/*"):
			return nil, "comments can't stand in it"
		case t == ";":
			return nil, "it must be one statement without a semicolon"
		case t == "'", t == `"`:
			return nil, "a quote is not closed"
		case t == "?", t == "[", t == "]", t == "`", t == "\x00":
			return nil, "SuiteQL over REST has no " + t
		}
		query = query[len(t):]
		if strings.TrimSpace(t) != "" {
			out = append(out, t)
		}
	}
	return out, ""
}

// clauses splits what follows SELECT into the columns and what begins with FROM, and refuses what can't stand in a query that is part of another.
func clauses(tokens []string) (list [][]string, rest []string, problem string) {
	if len(tokens) > 0 && (strings.EqualFold(tokens[0], "DISTINCT") || strings.EqualFold(tokens[0], "ALL")) {
		tokens = tokens[1:]
	}
	depth := 0
	var column []string
	for i, t := range tokens {
		switch t {
		case "(":
			depth++
		case ")":
			depth--
		}
		if depth < 0 {
			return nil, nil, "a parenthesis is closed that was not opened"
		}
		if depth == 0 {
			switch word := strings.ToUpper(t); {
			case slices.Contains([]string{"UNION", "INTERSECT", "MINUS", "EXCEPT"}, word):
				return nil, nil, "it must be one SELECT, without " + word + "; put a combined query in parentheses behind FROM"
			case slices.Contains([]string{"ORDER", "LIMIT", "OFFSET", "FETCH", "TOP", "ROWNUM"}, word) && !named(tokens, i):
				return nil, nil, "it must have no " + word + ": order and limit are added to it"
			case rest == nil && word == "FROM", rest == nil && t == ",":
				if len(column) == 0 {
					return nil, nil, "a column is missing"
				}
				list, column = append(list, column), nil
				if word == "FROM" {
					rest = tokens[i:]
				}
				continue
			}
		}
		if rest == nil {
			column = append(column, t)
		}
	}
	if depth != 0 {
		return nil, nil, "a parenthesis is not closed"
	}
	return list, rest, ""
}

// named says that a word is the name of something behind a dot or AS.
func named(tokens []string, i int) bool {
	return i > 0 && (tokens[i-1] == "." || strings.EqualFold(tokens[i-1], "AS"))
}

var word = regexp.MustCompile(`^([A-Za-z_][A-Za-z0-9_$#]*|"[^"]+")$`)

// nameOf is what a selected column is called; "" where that is not plain.
func nameOf(column []string) string {
	last := column[len(column)-1]
	if !word.MatchString(last) || strings.EqualFold(last, "END") && len(column) > 1 {
		return ""
	}
	if len(column) > 1 {
		switch before := column[len(column)-2]; {
		case before == ".", before == ")", word.MatchString(before), strings.HasPrefix(before, "'"):
		case before[0] >= '0' && before[0] <= '9':
		default:
			return "" // an operator: the word is part of an expression
		}
	}
	return strings.Trim(last, `"`)
}
