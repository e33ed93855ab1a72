package hubspottest

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// searchBody is a search. https://developers.hubspot.com/docs/api/crm/search
type searchBody struct {
	After        string   `json:"after"`
	Limit        int      `json:"limit"`
	Properties   []string `json:"properties"`
	Sorts        []string `json:"sorts"` // the name of a property sorts upwards: https://github.com/HubSpot/hubspot-api-nodejs#search
	FilterGroups []struct {
		Filters []condition `json:"filters"`
	} `json:"filterGroups"`
}

type condition struct {
	PropertyName string `json:"propertyName"`
	Operator     string `json:"operator"`
	Value        string `json:"value"`
}

// The vendor's limits: https://developers.hubspot.com/docs/api/crm/search#limitations
const (
	maxResults    = 10_000
	maxSearchPage = 200
	maxCharacters = 3_000
	maxGroups     = 5
	maxFilters    = 6
	maxAllFilters = 18
)

func (s *Server) search(w http.ResponseWriter, r *http.Request) *Refusal {
	t, refused := s.typeOf(r)
	if refused == nil {
		refused = onlyParameters(r)
	}
	if refused != nil {
		return refused
	}
	var body searchBody
	size, refused := decode(r, &body)
	if refused != nil {
		return refused
	}
	after, err := strconv.Atoi(body.After)
	filters := 0
	for _, g := range body.FilterGroups {
		filters += len(g.Filters)
		if len(g.Filters) > maxFilters {
			return invalid("There are too many filters in a group: at most %d", maxFilters)
		}
		for _, f := range g.Filters {
			if !slices.Contains(t.properties, f.PropertyName) {
				return invalid("There was a problem with the request: property %s does not exist", f.PropertyName)
			}
			if _, err := strconv.ParseInt(f.Value, 10, 64); err != nil || !slices.Contains([]string{"EQ", "GT", "GTE", "LT", "LTE"}, f.Operator) {
				return invalid("not served here: %s %s", f.Operator, f.Value)
			}
		}
	}
	switch {
	case size > maxCharacters:
		return invalid("The request is too long: %d characters of %d", size, maxCharacters)
	case err != nil || after < 0:
		return invalid("after must be an integer")
	case body.Limit < 1 || body.Limit > maxSearchPage:
		return invalid("limit must be between 1 and %d", maxSearchPage)
	case len(body.FilterGroups) > maxGroups || filters > maxAllFilters:
		return invalid("There are too many filters")
	case len(body.Sorts) > 1:
		return invalid("Only one sort is allowed")
	case after+body.Limit > maxResults:
		return invalid("Search results can only be paged through up to %d", maxResults)
	}
	found := t.matching(body)
	results := []any{}
	for _, o := range found[min(after, len(found)):min(after+body.Limit, len(found))] {
		results = append(results, t.show(o, body.Properties))
	}
	answer := map[string]any{"total": len(found), "results": results}
	if next := after + body.Limit; next < len(found) {
		answer["paging"] = map[string]any{"next": map[string]any{"after": strconv.Itoa(next)}}
	}
	return s.write(w, 200, answer)
}

// matching are the objects that the index has of a search, in its order. What sorts equally comes in no order that one could rely on.
func (t *objectType) matching(body searchBody) []*object {
	sort := "created"
	if len(body.Sorts) > 0 {
		sort = body.Sorts[0]
	}
	type ranked struct {
		by, tie int64
		object  *object
	}
	var found []ranked
	for _, o := range t.objects {
		if o.indexed != nil && t.matches(o.indexed, body) {
			found = append(found, ranked{t.number(o.indexed, sort), o.id * 7919 % 104729, o.indexed})
		}
	}
	slices.SortFunc(found, func(a, b ranked) int { return cmp.Or(cmp.Compare(a.by, b.by), cmp.Compare(a.tie, b.tie)) })
	out := make([]*object, len(found))
	for i, f := range found {
		out[i] = f.object
	}
	return out
}

// matches: groups are joined by or, the filters of one by and.
func (t *objectType) matches(o *object, body searchBody) bool {
	for _, g := range body.FilterGroups {
		if !slices.ContainsFunc(g.Filters, func(c condition) bool { return !t.fits(o, c) }) {
			return true
		}
	}
	return len(body.FilterGroups) == 0
}

func (t *objectType) fits(o *object, c condition) bool {
	want, _ := strconv.ParseInt(c.Value, 10, 64)
	switch by := cmp.Compare(t.number(o, c.PropertyName), want); c.Operator {
	case "EQ":
		return by == 0
	case "GT":
		return by > 0
	case "GTE":
		return by >= 0
	case "LT":
		return by < 0
	default:
		return by <= 0
	}
}

// number is what a property compares by.
func (t *objectType) number(o *object, name string) int64 {
	switch name {
	case t.modified:
		return o.millis
	case "created":
		return o.created.UnixMilli()
	case "hs_object_id":
		return o.id
	}
	if at, err := time.Parse(millisecond, o.properties[name]); err == nil {
		return at.UnixMilli()
	}
	n, _ := strconv.ParseInt(o.properties[name], 10, 64)
	return n
}
