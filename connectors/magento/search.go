package magento

import (
	"fmt"
	"net/url"
	"strconv"
	"time"

	"tributary/connectors/oauth1"
)

// filter is a condition on a field. Conditions are named as the API does: eq, gt, gteq.
type filter struct{ field, condition, value string }

// search asks for the first objects, sorted by two fields, of those that meet one filter of each group: filters within a group are alternatives,
// groups are not. https://developer.adobe.com/commerce/webapi/rest/use-rest/performing-searches/
type search struct {
	groups [][]filter
	sort   [2]string
	limit  int
}

func (s search) query() string {
	values := url.Values{}
	for g, group := range s.groups {
		for f, filter := range group {
			at := fmt.Sprintf("searchCriteria[filter_groups][%d][filters][%d]", g, f)
			values.Set(at+"[field]", filter.field)
			values.Set(at+"[condition_type]", filter.condition)
			values.Set(at+"[value]", filter.value)
		}
	}
	for i, field := range s.sort {
		at := fmt.Sprintf("searchCriteria[sortOrders][%d]", i)
		values.Set(at+"[field]", field)
		values.Set(at+"[direction]", "ASC")
	}
	values.Set("searchCriteria[pageSize]", strconv.Itoa(s.limit))
	values.Set("searchCriteria[currentPage]", "1")
	return oauth1.Query(values)
}

// behind finds what sorts behind the pair (a, b) of two fields: a is greater, or it is the same and b is greater. Groups can say only that one of
// several conditions holds, and that each group does; so it is put as: a is at least this, and a or b is greater.
func behind(fields, values [2]string) [][]filter {
	return [][]filter{
		{{fields[0], "gteq", values[0]}},
		{{fields[0], "gt", values[0]}, {fields[1], "gt", values[1]}},
	}
}

// changedBehind finds objects that changed at a second, with a greater ID than this, or later.
func changedBehind(p place, limit int) search {
	fields := [2]string{"updated_at", "entity_id"}
	// The database's times begin a second after 1970. What never changed, such as a cart just made, has none or one of zeros.
	at := time.Unix(max(p.At, 1), 0).UTC().Format(layout)
	return search{behind(fields, [2]string{at, strconv.FormatInt(p.ID, 10)}), fields, limit}
}

// stockBehind finds quantities behind a SKU and source. How texts sort is the business of the shop's database, which compares and sorts alike.
func stockBehind(p stockPlace, limit int) search {
	s := search{sort: [2]string{"sku", "source_code"}, limit: limit}
	if p.SKU != "" || p.Source != "" {
		s.groups = behind(s.sort, [2]string{p.SKU, p.Source})
	}
	return s
}

// layout is how the API writes times, in UTC and whole seconds.
const layout = time.DateTime
