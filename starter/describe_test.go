package main

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// Each source has a page, and describe shows what the page's tables have: streams and the rights that they need, what a record is, limits, settings,
// credentials. That the tables are the Definition's, the connectors' own tests prove.
func TestDescribeShowsWhatThePageHas(t *testing.T) {
	t.Parallel()
	s := place(t)
	var rows []connectorRow
	s.object(&rows, "connectors", "list")
	sources := 0
	for _, r := range rows {
		if !r.Source {
			continue
		}
		sources++
		raw, err := os.ReadFile("../docs/sources/" + r.Name + ".md")
		if err != nil {
			t.Errorf("a source without a page: %v", err)
			continue
		}
		text := strings.Join(strings.Fields(s.want(exitOK, nil, "connectors", "describe", r.Name).out), " ")
		tables := tablesOf(string(raw))
		for _, name := range []string{"records", "limits", "settings", "connection"} {
			if len(tables[name]) == 0 {
				t.Errorf("the page of %s has no %s", r.Name, name)
			}
		}
		for _, table := range generated.FindAllStringSubmatch(string(raw), -1) {
			for _, row := range fields.FindAllStringSubmatch(table[2], -1) {
				if table[1] == "streams" {
					continue
				}
				if described := describedAs(row[1], row[2], row[3]); !described.MatchString(text) {
					t.Errorf("%s: describe does not show the field %s as the page has it: no %s", r.Name, row[1], described)
				}
			}
		}
		for name, cells := range tables {
			for _, cell := range cells {
				if !strings.Contains(text, cell) {
					t.Errorf("%s: describe does not show %q, which the page has under %s", r.Name, cell, name)
				}
			}
		}
	}
	if sources < 5 {
		t.Errorf("%d sources", sources)
	}
}

var (
	generated = regexp.MustCompile(`(?s)<!-- begin (\w+) -->\n(.*?)<!-- end (\w+) -->`)
	// fields are the rows of settings and credentials: name, default and meaning.
	fields = regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ((?:required|`[^`]*`)?) \\| (.*) \\|$")
	// told are what a page puts in other words: a field's bounds, choices and secrecy.
	bounds  = regexp.MustCompile(`\(([0-9]+ to [0-9]+)\)`)
	choices = regexp.MustCompile("\\(`([^)]*)`\\)$")
	told    = regexp.MustCompile(`( \(secret\)| \([0-9]+ to [0-9]+\)| \(` + "`[^)]*`" + `\))+$`)
)

// tablesOf reads the generated tables: of each the cells that describe shows as they are.
func tablesOf(page string) map[string][]string {
	out := map[string][]string{}
	for _, m := range generated.FindAllStringSubmatch(page, -1) {
		lines := strings.Split(strings.TrimSpace(m[2]), "\n")
		for _, line := range lines[min(2, len(lines)):] {
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			for i, cell := range cells {
				cell = strings.TrimSpace(told.ReplaceAllString(cell, ""))
				if i == 0 && m[1] != "records" && m[1] != "limits" {
					cell = strings.Trim(cell, "`")
				}
				// Whether streams are polled and received is told otherwise, as are Shopify's topics and defaults.
				if !strings.HasPrefix(cell, "`") || i == 0 || m[1] == "streams" && !strings.Contains(cell, "/") {
					out[m[1]] = append(out[m[1]], cell)
				}
			}
		}
	}
	for i := 0; i < len(out["streams"]); i++ {
		switch out["streams"][i] {
		case "yes", "no", "none", "set up with the app", "not polled":
			out["streams"] = append(out["streams"][:i], out["streams"][i+1:]...)
			i--
		}
	}
	return out
}

// describedAs is how describe shows a field: page_size integer (default 100, 1 to 1000) What it means.
func describedAs(name, standard, meaning string) *regexp.Regexp {
	var marks []string
	if standard == "required" {
		marks = append(marks, standard)
	}
	if strings.Contains(meaning, " (secret)") {
		marks = append(marks, "secret")
	}
	if strings.HasPrefix(standard, "`") {
		marks = append(marks, "default "+strings.Trim(standard, "`"))
	}
	if m := bounds.FindStringSubmatch(meaning); m != nil {
		marks = append(marks, m[1])
	}
	if m := choices.FindStringSubmatch(meaning); m != nil {
		marks = append(marks, "one of ["+strings.ReplaceAll(m[1], "`, `", " ")+"]")
	}
	said := ""
	if marks != nil {
		said = regexp.QuoteMeta(" (" + strings.Join(marks, ", ") + ")")
	}
	return regexp.MustCompile(`\b` + name + `(\[\] list of)? [a-z]+` + said + " " + regexp.QuoteMeta(told.ReplaceAllString(meaning, "")))
}
