package magentotest

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// defaultPage is the Default Page Size of the input limits.
const defaultPage = 20

// criteria are those of a search, as an answer repeats them.
type criteria struct {
	FilterGroups []group `json:"filter_groups"`
	SortOrders   []order `json:"sort_orders,omitempty"`
	PageSize     int     `json:"page_size,omitempty"`
	CurrentPage  int     `json:"current_page,omitempty"`
}

type group struct {
	Filters []condition `json:"filters"`
}

type condition struct {
	Field string `json:"field"`
	Value string `json:"value"`
	Type  string `json:"condition_type"`
}

type order struct {
	Field     string `json:"field"`
	Direction string `json:"direction"`
}

var (
	filterKey = regexp.MustCompile(`^searchCriteria\[(?:filter_groups|filterGroups)\]\[(\d)\]\[filters\]\[(\d)\]\[(field|value|condition_type|conditionType)\]$`)
	sortKey   = regexp.MustCompile(`^searchCriteria\[(?:sortOrders|sort_orders)\]\[(\d)\]\[(field|direction)\]$`)
)

// grow gives a list an element at i.
func grow[T any](list []T, i int) []T {
	for len(list) <= i {
		var none T
		list = append(list, none)
	}
	return list
}

func read(r *http.Request) (c criteria, f *failure) {
	c.FilterGroups = []group{}
	given := false
	for key, values := range r.URL.Query() {
		given = given || strings.HasPrefix(key, "searchCriteria")
		value := values[0]
		number, notNumber := strconv.Atoi(value)
		if m := filterKey.FindStringSubmatch(key); m != nil {
			g, n := int(m[1][0]-'0'), int(m[2][0]-'0')
			c.FilterGroups = grow(c.FilterGroups, g)
			c.FilterGroups[g].Filters = grow(c.FilterGroups[g].Filters, n)
			filter := &c.FilterGroups[g].Filters[n]
			switch m[3] {
			case "field":
				filter.Field = value
			case "value":
				filter.Value = value
			default:
				filter.Type = value
			}
			continue
		}
		if m := sortKey.FindStringSubmatch(key); m != nil {
			n := int(m[1][0] - '0')
			c.SortOrders = grow(c.SortOrders, n)
			if m[2] == "field" {
				c.SortOrders[n].Field = value
			} else {
				c.SortOrders[n].Direction = value
			}
			continue
		}
		size := key == "searchCriteria[pageSize]" || key == "searchCriteria[page_size]"
		page := key == "searchCriteria[currentPage]" || key == "searchCriteria[current_page]"
		switch {
		case key == "searchCriteria":
		case (size || page) && (notNumber != nil || number < 0):
			return c, &failure{http.StatusBadRequest, wrongType,
				map[string]string{"value": value, "type": "int"}}
		case size:
			c.PageSize = number
		case page:
			c.CurrentPage = number
		default:
			return c, &failure{http.StatusBadRequest, `"%fieldName" is not a criterion.`, map[string]string{"fieldName": key}}
		}
	}
	if !given {
		return c, &failure{http.StatusBadRequest, missing, map[string]string{"fieldName": "searchCriteria"}}
	}
	return c, nil
}

// column compares a field of a row with a text, as the database's type of the field does.
func column(stream, field string) func(row, string) int {
	switch {
	case stream == "stock" && field == "sku":
		return func(r row, v string) int { return collate(r.sku, v) }
	case stream == "stock" && field == "source_code":
		return func(r row, v string) int { return collate(r.source, v) }
	case stream == "stock":
		return nil
	case field == "entity_id":
		return func(r row, v string) int {
			n, _ := strconv.ParseInt(v, 10, 64)
			return cmp.Compare(r.id, n)
		}
	case field == "updated_at":
		return func(r row, v string) int { return strings.Compare(r.updated, v) }
	}
	return nil
}

// collate compares texts as the database does, which knows no case.
func collate(a, b string) int { return strings.Compare(strings.ToLower(a), strings.ToLower(b)) }

// value is the text of a field of a quantity.
func value(r row, field string) string {
	if field == "sku" {
		return r.sku
	}
	return r.source
}

func (s *Server) search(w http.ResponseWriter, r *http.Request, stream, view string) *failure {
	c, f := read(r)
	if f != nil {
		return f
	}
	if s.PageLimit > 0 {
		if c.PageSize == 0 {
			c.PageSize = defaultPage
		}
		if c.PageSize > s.PageLimit {
			return &failure{http.StatusBadRequest, tooLarge, map[string]int{"max": s.PageLimit}}
		}
	}
	if s.AllCategories && stream == "categories" {
		c.SortOrders, c.PageSize = nil, 0
	}
	match, f := c.match(stream)
	if f != nil {
		return f
	}
	var matched []row
	for _, row := range s.rows[stream] {
		if match(row) {
			matched = append(matched, row)
		}
	}
	if f := c.sort(stream, matched); f != nil {
		return f
	}
	total := len(matched)
	if c.PageSize > 0 {
		last := max((total+c.PageSize-1)/c.PageSize, 1)
		from := (min(max(c.CurrentPage, 1), last) - 1) * c.PageSize
		matched = matched[from:min(from+c.PageSize, total)]
	}
	s.searches = append(s.searches, r.URL.Path+"?"+strings.Join(c.text(), " AND "))
	s.largest = max(s.largest, len(matched))
	echo, err := json.Marshal(c)
	if err != nil {
		return &failure{http.StatusInternalServerError, "Internal Error.", nil}
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_, _ = w.Write([]byte(`{"items":[`))
	for i, row := range matched {
		if i > 0 {
			_, _ = w.Write([]byte(","))
		}
		_, _ = w.Write(row.in(stream, view))
	}
	_, _ = fmt.Fprintf(w, `],"search_criteria":%s,"total_count":%d}`, echo, total)
	return nil
}

// text is what the groups ask for.
func (c criteria) text() (out []string) {
	for _, g := range c.FilterGroups {
		var any []string
		for _, f := range g.Filters {
			any = append(any, f.Field+" "+f.Type+" "+f.Value)
		}
		out = append(out, "("+strings.Join(any, " OR ")+")")
	}
	return out
}

// internal is what the shop says of a field that its tables do not have.
func internal() *failure {
	return &failure{http.StatusInternalServerError, failed, nil}
}

// match makes the filters one question: one of each group must hold.
func (c criteria) match(stream string) (func(row) bool, *failure) {
	type test func(row) bool
	var groups [][]test
	for _, g := range c.FilterGroups {
		var tests []test
		for _, f := range g.Filters {
			compare := column(stream, f.Field)
			if compare == nil {
				return nil, internal()
			}
			holds, known := map[string]func(int) bool{
				"eq": func(n int) bool { return n == 0 }, "": func(n int) bool { return n == 0 }, "gt": func(n int) bool { return n > 0 },
				"gteq": func(n int) bool { return n >= 0 }, "lt": func(n int) bool { return n < 0 }, "lteq": func(n int) bool { return n <= 0 },
			}[f.Type]
			if !known {
				return nil, internal()
			}
			tests = append(tests, func(r row) bool { return holds(compare(r, f.Value)) })
		}
		groups = append(groups, tests)
	}
	return func(r row) bool {
		for _, tests := range groups {
			if !slices.ContainsFunc(tests, func(t test) bool { return t(r) }) {
				return false
			}
		}
		return true
	}, nil
}

// sort sorts as far as was asked for. What that leaves open is in any order.
func (c criteria) sort(stream string, rows []row) *failure {
	unique := 0
	for _, o := range c.SortOrders {
		if column(stream, o.Field) == nil {
			return internal()
		}
		if o.Direction != "ASC" && o.Direction != "DESC" {
			return &failure{http.StatusBadRequest, "Invalid sort order direction.", nil}
		}
		switch o.Field {
		case "entity_id":
			unique += 2
		case "sku", "source_code":
			unique++
		}
	}
	if unique < 2 {
		rand.Shuffle(len(rows), func(i, j int) { rows[i], rows[j] = rows[j], rows[i] })
	}
	compare := func(a, b row) int {
		for _, o := range c.SortOrders {
			var order int
			switch o.Field {
			case "entity_id":
				order = cmp.Compare(a.id, b.id)
			case "updated_at":
				order = strings.Compare(a.updated, b.updated)
			default:
				order = collate(value(a, o.Field), value(b, o.Field))
			}
			if o.Direction == "DESC" {
				order = -order
			}
			if order != 0 {
				return order
			}
		}
		return 0
	}
	if !slices.IsSortedFunc(rows, compare) { // as they are where they were put in order: a bench has no time to sort them for each page
		slices.SortStableFunc(rows, compare)
	}
	return nil
}
