package integration

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tributary/connectors"
)

// Problem is one thing that is wrong with an integration file, and what would be right.
type Problem struct {
	File string `json:"file,omitempty"`
	// Line and Column count from 1; 0 = the Spec did not come from a file.
	Line   int `json:"line,omitempty"`
	Column int `json:"column,omitempty"`
	// Field is the path of the field, such as "destinations[0].batch.age"; empty = the file as a whole.
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
}

// String is the problem on one line, in the form that editors and terminals know to jump to.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File + ":")
	}
	if p.Line > 0 {
		fmt.Fprintf(&b, "%d:%d:", p.Line, p.Column)
	}
	if b.Len() > 0 {
		b.WriteByte(' ')
	}
	if p.Field != "" {
		b.WriteString(p.Field + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is everything that is wrong with an integration, in the order of the file. It holds no secret
// also where the file does (I7).
type Problems []Problem

// Error has a line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// findings collects the problems of a document, one for each place at most: the first that is found explains
// those that follow from it.
type findings struct {
	doc      document
	problems Problems
	wrong    map[string]bool // by pointer
}

func newFindings(doc document) *findings {
	f := &findings{doc: doc, problems: doc.problems, wrong: make(map[string]bool)}
	for at := range doc.refused {
		f.wrong[at] = true
	}
	return f
}

// add notes a problem at the value that at leads to, unless something is known to be wrong there or around it.
func (f *findings) add(at []string, format string, args ...any) {
	for n := range len(at) + 1 {
		if f.wrong[pointer(at[:n])] {
			return
		}
	}
	f.wrong[pointer(at)] = true
	pos := f.doc.position(at)
	f.problems = append(f.problems, f.doc.problem(pos, at, fmt.Sprintf(format, args...)))
}

// err returns the problems sorted by place, or nil.
func (f *findings) err() error {
	if len(f.problems) == 0 {
		return nil
	}
	slices.SortStableFunc(f.problems, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	return slices.Compact(f.problems)
}

// pointer is the JSON pointer (RFC 6901) of a place.
func pointer(at []string) string {
	var b strings.Builder
	for _, token := range at {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return b.String()
}

// fieldPath is a place as people write it.
func fieldPath(at []string) string {
	var b strings.Builder
	for _, token := range at {
		switch {
		case token != "" && strings.Trim(token, "0123456789") == "":
			b.WriteString("[" + token + "]")
		case b.Len() > 0:
			b.WriteString("." + token)
		default:
			b.WriteString(token)
		}
	}
	return connectors.Clip(b.String(), 200)
}

// unknown says that a word is none of the known ones, and which was probably meant.
func unknown(what, word string, known []string) string {
	message := fmt.Sprintf("unknown %s %s", what, quote(word))
	if near := nearest(word, known); near != "" {
		message += fmt.Sprintf(" (did you mean %q?)", near)
	}
	if len(known) == 0 {
		return message + "; there are none"
	}
	return message + "; known are " + strings.Join(known, ", ")
}

// quote shows a word of the file.
func quote(word string) string { return fmt.Sprintf("%q", connectors.Clip(word, 60)) }

// nearest finds the known word that a typing error could have turned into the given one; "" = none is near.
func nearest(word string, known []string) string {
	best, least := "", max(len(word)/3, 1)+1
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k), least); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is the number of letters to insert, delete, replace or swap between a and b, or bound where it is not less.
func distance(a, b string, bound int) int {
	if len(a)-len(b) >= bound || len(b)-len(a) >= bound {
		return bound
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j]+cost, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last, row = last, row, before
	}
	return min(last[len(b)], bound)
}
