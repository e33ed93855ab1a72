// Package terminal writes for people: tables, and a block of lines that refreshes in place.
package terminal

import (
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Table is rows under headings. Columns are as wide as their widest cell.
type Table struct {
	Headings []string
	// Right says, by column, what is set flush right: numbers.
	Right []bool
	// Width, where set, is the most that a line may take: the widest columns are cut.
	Width int
	rows  [][]string
}

// NewTable makes a table; a heading that begins with ">" is of a column that is set flush right.
func NewTable(headings ...string) *Table {
	t := &Table{Right: make([]bool, len(headings))}
	for i, h := range headings {
		h, right := strings.CutPrefix(h, ">")
		t.Headings, t.Right[i] = append(t.Headings, h), right
	}
	return t
}

// Row adds a row; each cell is written as fmt.Sprint does.
func (t *Table) Row(cells ...any) {
	row := make([]string, len(t.Headings))
	for i, c := range cells {
		row[i] = clean(fmt.Sprint(c))
	}
	t.rows = append(t.rows, row)
}

// Len is the number of rows.
func (t *Table) Len() int { return len(t.rows) }

// Write writes the table, each line after the indent.
func (t *Table) Write(w io.Writer, indent string) {
	widths := make([]int, len(t.Headings))
	for _, row := range append([][]string{t.Headings}, t.rows...) {
		for i, c := range row {
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	if t.Width > 0 {
		fit(widths, t.Width-len(indent)-2*(len(widths)-1))
	}
	var b strings.Builder
	line := func(row []string) {
		var l strings.Builder
		for i, c := range row {
			if i > 0 {
				l.WriteString("  ")
			}
			c = Cut(c, widths[i])
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if t.Right[i] {
				l.WriteString(pad + c)
			} else {
				l.WriteString(c + pad)
			}
		}
		b.WriteString(indent + strings.TrimRight(l.String(), " ") + "\n")
	}
	line(t.Headings)
	for _, row := range t.rows {
		line(row)
	}
	_, _ = io.WriteString(w, b.String())
}

// fit narrows the widest columns until all fit the room, none below a few characters.
func fit(widths []int, room int) {
	const least = 8
	sum := 0
	for _, w := range widths {
		sum += w
	}
	for ; sum > room; sum-- {
		widest := 0
		for i, w := range widths {
			if w > widths[widest] {
				widest = i
			}
		}
		if widths[widest] <= least {
			return
		}
		widths[widest]--
	}
}

// Cut shortens s to n characters, the last of which then is an ellipsis.
func Cut(s string, n int) string {
	if n <= 0 || utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

// clean keeps what comes from apps from moving the cursor or breaking a line.
func clean(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

// Count writes a number with separators: 12,345.
func Count[T ~int | ~int64](n T) string {
	s := fmt.Sprint(int64(n))
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
