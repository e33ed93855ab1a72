package shopify

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest/clock"
	"tributary/internal/sandbox"
)

// files answers for Shopify's storage and keeps what it was asked.
type files struct {
	shop     http.Handler
	requests []*http.Request
	bodies   []string
}

func (f *files) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Host == "storage.googleapis.com" || r.URL.Host == "storage.googleapis.com" {
		f.requests = append(f.requests, r)
		rec := &tee{ResponseWriter: w}
		f.shop.ServeHTTP(rec, r)
		f.bodies = append(f.bodies, rec.text.String())
		return
	}
	f.shop.ServeHTTP(w, r)
}

type tee struct {
	http.ResponseWriter
	text bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.text.Write(p)
	return t.ResponseWriter.Write(p)
}

// The storage gets no token, and is asked for pieces.
func TestFilesAreReadInPiecesWithoutAToken(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Customers: 400, Now: clock.Now})
	f := &files{shop: shop}
	src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now, Transport: handlerTransport{f}})
	b := newBackfill(t, src, clock, "customers")
	b.limit = 50
	b.run()
	b.wantAll(keysIn(shop, sandbox.Customers))
	if len(f.requests) < 8 {
		t.Errorf("%d requests for 8 pages", len(f.requests))
	}
	for i, r := range f.requests {
		for name, values := range r.Header {
			if strings.Contains(strings.Join(values, " "), shop.AccessToken()) {
				t.Errorf("the storage got the token in %s", name)
			}
		}
		if !strings.HasPrefix(r.Header.Get("Range"), "bytes=") {
			t.Error("the whole file was asked for")
		}
		if i > 0 && len(f.bodies[i]) > 4*len(f.bodies[i-1])/3 && i > 1 {
			t.Errorf("piece %d has %d bytes, the one before %d: want what a page takes", i, len(f.bodies[i]), len(f.bodies[i-1]))
		}
	}
	if last := f.bodies[len(f.bodies)-2]; len(last) > 200<<10 {
		t.Errorf("a page of 50 customers reads %d KiB", len(last)>>10)
	}
	for _, key := range []string{"Signature", "googleapis"} { // I7: the URL is as good as a password, and cursors stand in histories
		if bytes.Contains(b.cursor, []byte(key)) {
			t.Errorf("the cursor holds the file's URL: %s", b.cursor)
		}
	}
}

// A connection's lines are put back under their object: both byte for byte, in the shape of a page.
func TestChildrenArePutBackUnderTheirParents(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Orders: 40, Now: clock.Now})
	f := &files{shop: shop}
	src := openShop(t, shop, Settings{Bulk: "always"}, connectors.Env{Now: clock.Now, Transport: handlerTransport{f}})
	b := newBackfill(t, src, clock, "orders")
	b.limit = 7
	b.run()
	b.wantAll(keysIn(shop, sandbox.Orders))
	file := []byte(strings.Join(f.bodies, "\n"))
	paged := newBackfill(t, openShop(t, shop, Settings{Bulk: "never"}, connectors.Env{Now: clock.Now}), clock, "orders")
	paged.run()
	for key, data := range b.data {
		order := gjson.ParseBytes(data)
		page := gjson.ParseBytes(paged.data[key])
		if !gjson.ValidBytes(data) {
			t.Fatalf("order %s is no JSON: %s", key, data)
		}
		lines := order.Get("lineItems.nodes")
		if len(lines.Array()) != len(page.Get("lineItems.nodes").Array()) || len(lines.Array()) == 0 {
			t.Errorf("order %s has %d lines, by a page %d", key, len(lines.Array()), len(page.Get("lineItems.nodes").Array()))
		}
		for i, line := range lines.Array() {
			if !bytes.Contains(file, append([]byte(line.Raw), '\n')) {
				t.Errorf("order %s: line %d is not a line of the file", key, i)
			}
			if line.Get("__parentId").Str != order.Get("id").Str || line.Get("name").Str != page.Get(fmt.Sprintf("lineItems.nodes.%d.name", i)).Str {
				t.Errorf("order %s: line %d is another's: %s", key, i, line.Raw)
			}
		}
		if more := order.Get("lineItems.pageInfo.hasNextPage"); more.Raw != "false" {
			t.Errorf("order %s: hasNextPage is %q", key, more.Raw)
		}
		at := bytes.Index(data, []byte(`,"lineItems":{"nodes":[`))
		if head := data[:max(at, 0)]; at < 0 || !bytes.Contains(file, append(bytes.Clone(head), "}\n"...)) {
			t.Errorf("order %s: what precedes its lines is not its line of the file", key)
		}
		if got, want := order.Get("totalPriceSet").Raw, page.Get("totalPriceSet").Raw; got != want {
			t.Errorf("order %s: %s, by a page %s", key, got, want)
		}
	}
}

// A record of a file has all its children and the ID that a page gives the object, which shows the first few: so that a poll that brings it again does not
// replace all of them by those.
func TestARecordOfLinesHasTheIDOfAPage(t *testing.T) {
	t.Parallel()
	st, err := lookup("", "orders")
	if err != nil {
		t.Fatal(err)
	}
	const head = `{"id":"gid://shopify/Order/7","updatedAt":"2026-01-05T00:00:00Z","note":",\"__parentId\":"`
	for _, n := range []int{0, 1, st.nested.first, st.nested.first + 2} {
		file, shown := head+"}\n", []string{}
		for i := range n {
			child := fmt.Sprintf(`{"id":"gid://shopify/LineItem/%d","name":",\"__parentId\":"`, i+1)
			file += child + `,"__parentId":"gid://shopify/Order/7"}` + "\n"
			if i < st.nested.first {
				shown = append(shown, child+"}")
			}
		}
		l := &jsonl{reading: &reading{op: "test", stream: st}, text: []byte(file), last: true, limit: 10}
		if err := l.read(); err != nil || len(l.records) != 1 {
			t.Fatalf("%d children: %d records, %v", n, len(l.records), err)
		}
		page := fmt.Sprintf(`%s,"lineItems":{"nodes":[%s],"pageInfo":{"hasNextPage":%t}}}`, head, strings.Join(shown, ","), n > st.nested.first)
		want, _, err := l.record(gjson.Parse(page), []byte(page), []byte(page))
		if err != nil {
			t.Fatal(err)
		}
		got := l.records[0]
		if got.ID != want.ID {
			t.Errorf("%d children: the ID is not that of the page's node %s", n, page)
		}
		if all := gjson.GetBytes(got.Data, "lineItems.nodes.#").Int(); all != int64(n) {
			t.Errorf("the record has %d of %d children", all, n)
		}
	}
}

// However the file is cut into pieces, and however many records a page holds, the records are the same.
func TestPiecesGiveTheSameRecords(t *testing.T) {
	t.Parallel()
	var file bytes.Buffer
	for i := 1; i <= 9; i++ {
		fmt.Fprintf(&file, `{"id":"gid://shopify/Order/%d","updatedAt":"2026-01-01T00:00:0%dZ","note":"line\n%s"}`+"\n", i, i, strings.Repeat("ü", i*7))
		for j := range i % 4 {
			fmt.Fprintf(&file, `{"id":"gid://shopify/LineItem/%d","__parentId":"gid://shopify/Order/%d"}`+"\n", i*10+j, i)
		}
	}
	text := file.Bytes()
	st, err := lookup("", "orders")
	if err != nil {
		t.Fatal(err)
	}
	read := func(t *testing.T, size, limit int) (out []string) {
		for offset, grow := 0, size; ; {
			end := min(offset+grow, len(text))
			l := &jsonl{reading: &reading{op: "test", stream: st}, text: text[offset:end], last: end == len(text), limit: limit}
			if err := l.read(); err != nil {
				t.Fatalf("pieces of %d: %v", size, err)
			}
			for _, r := range l.records {
				out = append(out, string(r.Data))
			}
			if l.ended {
				return out
			}
			if offset += l.used; l.used == 0 {
				grow *= 2
			} else {
				grow = size
			}
		}
	}
	want := strings.Join(read(t, len(text), 100), "\n")
	if n := strings.Count(want, `"lineItems":`); n != 9 || strings.Count(want, "LineItem/") != 13 {
		t.Fatalf("%d orders: %s", n, want)
	}
	for size := 1; size < len(text); size += 13 {
		for _, limit := range []int{1, 2, 100} {
			if got := strings.Join(read(t, size, limit), "\n"); got != want {
				t.Fatalf("pieces of %d, pages of %d: %s, want %s", size, limit, got, want)
			}
		}
	}
}

func TestFilesThatAreNone(t *testing.T) {
	t.Parallel()
	orders, err := lookup("", "orders")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]connectors.Kind{
		"<html>": connectors.Unavailable, "{\n": connectors.Unavailable, `["x"]` + "\n": connectors.Unavailable,
		`{"id":"gid://shopify/LineItem/1","__parentId":"gid://shopify/Order/1"}` + "\n":                                                                       connectors.Invalid,
		`{"id":"gid://shopify/Order/1","updatedAt":"2026-01-01T00:00:00Z"}` + "\n" + `{"id":"gid://shopify/LineItem/1","__parentId":"gid://shopify/Order/2"}`: connectors.Invalid,
		`{"id":"gid://shopify/Order/1"}` + "\n": connectors.Invalid,
		`{"id":"x"}` + "\n":                     connectors.Invalid,
	} {
		l := &jsonl{reading: &reading{op: "test", stream: orders}, text: []byte(text), last: true, limit: 10}
		if err := l.read(); kind(err) != want {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// fakeBulk is a shop whose operation has ended, and a storage of the test's own.
func fakeBulk(t *testing.T, url string, storage http.HandlerFunc) (*source, []byte) {
	t.Helper()
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasSuffix(r.URL.Path, "graphql.json") {
			storage(w, r)
			return
		}
		fmt.Fprintf(w, `{"data":{"node":{"id":"gid://shopify/BulkOperation/7","status":"COMPLETED","fileSize":"100","objectCount":"1","url":%q}}}`, url)
	})
	src, err := open(connectors.Config{
		Connection: raw(t, Connection{Shop: "example", AccessToken: "shpat_canary"}), Env: connectors.Env{Transport: handlerTransport{h}, Now: clock.New().Now},
	})
	if err != nil {
		t.Fatal(err)
	}
	c := cursor{V: cursorVersion, First: true, Bulk: &bulkCursor{ID: 7, Began: clock.New().Now(), First: clock.New().Now(), Size: 100}}
	return src, c.encode()
}

// The URL is the vendor's word: it leads to the vendor's storage or nowhere (I14).
func TestFilesElsewhereAreNotRead(t *testing.T) {
	t.Parallel()
	for _, url := range []string{
		"https://thief.example/x", "http://storage.googleapis.com/x", "https://storage.googleapis.com.thief.example/x",
		"https://169.254.169.254/x", "/etc/passwd", "file:///etc/passwd", "https://u@thief.example/", "::",
	} {
		src, cursor := fakeBulk(t, url, func(http.ResponseWriter, *http.Request) { t.Errorf("%s was called", url) })
		_, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "customers", Cursor: cursor})
		if kind(err) != connectors.Invalid || strings.Contains(err.Error(), "thief") {
			t.Errorf("%s: %v, want invalid without the URL", url, err)
		}
	}
}

func TestStorageErrors(t *testing.T) {
	t.Parallel()
	const line = `{"id":"gid://shopify/Customer/1","updatedAt":"2026-01-01T00:00:00Z","note":"%s"}`
	whole := fmt.Sprintf(line, strings.Repeat("x", 100-len(line)+1)) + "\n"
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		want   connectors.Kind
	}{
		"500":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }, connectors.Unavailable},
		"a redirect": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(302) }, connectors.Unavailable},
		"429":        {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(429) }, connectors.RateLimited},
		"too little": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }, connectors.Unavailable},
		"another piece": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Range", "bytes 5-104/105")
			w.WriteHeader(206)
		}, connectors.Unavailable},
		"no pieces": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(whole)) }, ""},
		"more than was said": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte(strings.Replace(whole, "xxx", strings.Repeat("y", 50), 1)))
		}, ""},
		"all was read":       {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(416) }, connectors.Unavailable},
		"a page of the host": {func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(strings.Repeat("<p>", 50))) }, connectors.Unavailable},
	} {
		src, cursor := fakeBulk(t, "https://storage.googleapis.com/x?Signature=canary", c.answer)
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "customers", Cursor: cursor})
		if kind(err) != c.want || err != nil && strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
		if c.want == "" && len(p.Records) != 1 {
			t.Errorf("%s: %d records", name, len(p.Records))
		}
	}
	// Whatever says that the file is gone costs another operation.
	for _, status := range []int{400, 403, 404, 410} {
		src, cursor := fakeBulk(t, "https://storage.googleapis.com/x", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		p, err := src.Fetch(t.Context(), connectors.FetchRequest{Stream: "customers", Cursor: cursor})
		if err != nil || !p.More || p.Wait == 0 || bulkOf(t, p).ID != 0 || bulkOf(t, p).Lost != 7 {
			t.Errorf("HTTP %d: %s, wait %s, %v, want another operation", status, p.Cursor, p.Wait, err)
		}
	}
}

// A shop that is reached by its own address keeps its files there. With faults on a third of its answers everything comes all the same.
func TestFaultyFilesAreReadInTheEnd(t *testing.T) {
	t.Parallel()
	clock := clock.New()
	shop := newShop(t, sandbox.Options{Orders: 300, Seed: 5, Now: clock.Now})
	server := httptest.NewServer(shop)
	t.Cleanup(server.Close)
	shop.SetFaults(sandbox.Faults{ServerError: .1, Throttle: .1, Truncate: .1})
	conn := connectionTo(shop)
	conn.AdminURL = server.URL
	src, err := open(connectors.Config{
		Settings: raw(t, Settings{Bulk: "always"}), Connection: raw(t, conn), Env: connectors.Env{Networks: loopback(t), Now: clock.Now},
	})
	if err != nil {
		t.Fatal(err)
	}
	b := newBackfill(t, src, clock, "orders")
	b.limit = 20
	failed := 0
	for more := true; more; {
		p, err := b.fetch()
		switch kind(err) {
		case "":
		case connectors.Unavailable, connectors.RateLimited:
			if failed++; failed > 500 {
				t.Fatal(err)
			}
			continue
		default:
			t.Fatal(err)
		}
		for _, r := range p.Records {
			b.times[r.Key]++
		}
		b.cursor, more = p.Cursor, p.More
		clock.Advance(p.Wait)
	}
	b.wantAll(keysIn(shop, sandbox.Orders))
	if failed == 0 {
		t.Error("no answer was spoiled")
	}
}
