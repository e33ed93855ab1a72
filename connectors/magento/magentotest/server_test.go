package magentotest_test

import (
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors/magento/magentotest"
)

// ask searches with a bearer token, after change has had its way with the request. Criteria are written as field:value, separated by &.
func ask(t *testing.T, s *magentotest.Server, path, criteria string, change func(*http.Request)) (int, gjson.Result) {
	t.Helper()
	values := url.Values{}
	for _, c := range strings.Split(criteria, "&") {
		if name, value, ok := strings.Cut(c, "="); ok {
			values.Set("searchCriteria"+name, value)
		}
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+path+"?"+values.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+magentotest.AccessToken)
	if change != nil {
		change(req)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, gjson.ParseBytes(body)
}

const (
	orders = "/rest/all/V1/orders"
	filter = "[filter_groups][0][filters][0]"
	sorted = "&[sortOrders][0][field]=entity_id&[sortOrders][0][direction]=ASC"
)

func TestWhatIsRefused(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, nil)
	s.Put("orders", 1, s.Now())
	s.PageLimit = 300
	for name, c := range map[string]struct {
		path, criteria string
		change         func(*http.Request)
		status         int
		says           string
	}{
		"a store view":         {"/rest/french/V1/orders", "[pageSize]=1", nil, 404, "any route"},
		"a path":               {"/rest/all/V1/unicorns", "[pageSize]=1", nil, 404, "any route"},
		"a method":             {orders, "[pageSize]=1", func(r *http.Request) { r.Method = http.MethodPost }, 404, "any route"},
		"a guest":              {orders, "[pageSize]=1", func(r *http.Request) { r.Header.Del("Authorization") }, 401, "isn't authorized to access"},
		"a strange token":      {orders, "[pageSize]=1", func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }, 401, "isn't authorized to access"},
		"a header cut off":     {orders, "[pageSize]=1", func(r *http.Request) { r.Header.Set("Authorization", "OAuth x") }, 401, "malformed"},
		"no criteria":          {orders, "", nil, 400, "is required"},
		"a strange criterion":  {orders, "[limit]=1", nil, 400, "not a criterion"},
		"a size in words":      {orders, "[pageSize]=ten", nil, 400, "type is invalid"},
		"a page too large":     {orders, "[pageSize]=301", nil, 400, "Maximum SearchCriteria pageSize"},
		"a strange field":      {orders, filter + "[field]=horn&" + filter + "[value]=1", nil, 500, "Internal Error"},
		"a strange comparison": {orders, filter + "[field]=entity_id&" + filter + "[value]=1&" + filter + "[condition_type]=>", nil, 500, "Internal Error"},
		"a strange order":      {orders, "[sortOrders][0][field]=horn&[sortOrders][0][direction]=ASC", nil, 500, "Internal Error"},
		"a strange direction":  {orders, "[sortOrders][0][field]=entity_id&[sortOrders][0][direction]=up", nil, 400, "direction"},
		"a time of stock":      {"/rest/all/V1/inventory/source-items", filter + "[field]=updated_at&" + filter + "[value]=1", nil, 500, "Internal Error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if status, body := ask(t, s, c.path, c.criteria, c.change); status != c.status || !strings.Contains(body.Get("message").Str, c.says) {
				t.Errorf("HTTP %d: %s", status, body.Raw)
			}
		})
	}
}

func ids(body gjson.Result) string { return body.Get("items.#.entity_id").Raw }

func TestSearches(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, nil)
	for i := range int64(30) {
		s.Put("orders", i+1, s.Now().Add(time.Duration(i/10)*time.Second))
	}
	_, body := ask(t, s, orders, "[pageSize]=2&[currentPage]=2"+sorted, nil)
	if ids(body) != "[3,4]" || body.Get("total_count").Int() != 30 || body.Get("search_criteria.page_size").Int() != 2 {
		t.Errorf("a page is %s", body.Raw)
	}
	if _, past := ask(t, s, orders, "[pageSize]=20&[currentPage]=9"+sorted, nil); ids(past) != "[21,22,23,24,25,26,27,28,29,30]" {
		t.Errorf("past the last page is %s", ids(past))
	}
	// Filters of a group are alternatives, groups are not.
	criteria := "[filter_groups][0][filters][0][field]=updated_at&[filter_groups][0][filters][0][condition_type]=gteq&[filter_groups][0][filters][0][value]=" +
		s.Now().Add(time.Second).Format(time.DateTime) + "&[filter_groups][1][filters][0][field]=entity_id&[filter_groups][1][filters][0][value]=5" +
		"&[filter_groups][1][filters][1][field]=entity_id&[filter_groups][1][filters][1][condition_type]=gt&[filter_groups][1][filters][1][value]=28"
	if _, body := ask(t, s, orders, criteria+sorted, nil); ids(body) != "[29,30]" {
		t.Errorf("found %s", ids(body))
	}
	// What nothing sorts comes in another order each time, and so does what is sorted by time within a second.
	for _, order := range []string{"[pageSize]=30", "[sortOrders][0][field]=updated_at&[sortOrders][0][direction]=ASC"} {
		found := map[string]bool{}
		for range 4 {
			_, body := ask(t, s, orders, order, nil)
			found[ids(body)] = true
		}
		if len(found) == 1 {
			t.Errorf("the orders of %q come in one order", order)
		}
	}
}

// With input limits a search without a size has one.
func TestDefaultPageSize(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, nil)
	for i := range int64(30) {
		s.Put("orders", i+1, s.Now())
	}
	for limit, want := range map[int]int{0: 30, 300: 20} {
		s.PageLimit = limit
		if _, body := ask(t, s, orders, "[currentPage]=1", nil); len(body.Get("items").Array()) != want {
			t.Errorf("limit %d: %d orders, want %d", limit, len(body.Get("items").Array()), want)
		}
	}
}

// A name in a store view is that view's alone; in all it is that of the views that have none of their own. Both are changes of the object.
func TestNamesByStoreView(t *testing.T) {
	t.Parallel()
	s := magentotest.New(t, nil)
	s.Put("products", 1, s.Now())
	names := func() (out []string) {
		t.Helper()
		for _, view := range []string{"all", "default", "german"} {
			status, body := ask(t, s, "/rest/"+view+"/V1/products", "[pageSize]=1", nil)
			item := body.Get("items.0")
			if status != http.StatusOK || item.Get("updated_at").Str != s.Now().Format(time.DateTime) {
				t.Errorf("%s: HTTP %d: %s", view, status, body.Raw)
			}
			out = append(out, item.Get("name").Str)
		}
		return out
	}
	const first = "Caf\u00e9 <1> / 50 %"
	for _, step := range []struct {
		change func()
		want   []string
	}{
		{func() { s.Put("products", 1, s.Now()) }, []string{first, first, first}},
		{func() { s.Name("german", "products", 1, s.Now(), `"K\u00e4se"`) }, []string{first, first, "K\u00e4se"}},
		{func() { s.Name("all", "products", 1, s.Now(), `"Cheese"`) }, []string{"Cheese", "Cheese", "K\u00e4se"}},
		{func() { s.Put("products", 1, s.Now()) }, []string{"Cheese", "Cheese", "K\u00e4se"}},
		{func() { s.Name("default", "products", 1, s.Now(), `"Fromage"`) }, []string{"Cheese", "Fromage", "K\u00e4se"}},
	} {
		s.Advance(time.Second)
		step.change()
		if got := names(); !slices.Equal(got, step.want) {
			t.Errorf("names are %q, want %q", got, step.want)
		}
	}
}
