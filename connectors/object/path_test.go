package object

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"tributary/connectors"
)

// TestFolders proves what folders are called.
func TestFolders(t *testing.T) {
	t.Parallel()
	b := connectors.Batch{Installation: "shop/ada@example.com", Integration: "shop", User: "ada@example.com"}
	at := time.Date(2026, 3, 4, 1, 30, 0, 0, time.FixedZone("", 2*3600)) // in UTC it is the day before
	for _, test := range []struct {
		path, stream string
		at           time.Time
		want         string
	}{
		{"", "orders", at, "stream=orders/date=2026-03-03/"},
		{"", "orders", time.Time{}, "stream=orders/date=__HIVE_DEFAULT_PARTITION__/"},
		{"", "orders", time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC), "stream=orders/date=__HIVE_DEFAULT_PARTITION__/"},
		{"", "", at, "stream=__HIVE_DEFAULT_PARTITION__/date=2026-03-03/"},
		{"/lake/raw/", "orders", at, "lake/raw/"},
		{"i={installation}/{integration}/{user}", "orders", at, "i=shop%2Fada@example.com/shop/ada@example.com/"},
		{"year={year}/month={month}/day={day}/hour={hour}/{stream}", "orders", at, "year=2026/month=03/day=03/hour=23/orders/"},
		{"{stream}", "..", at, "%2E%2E/"},
		{"{stream}", "a.b", at, "a.b/"},
		{"{stream}", `a/b=c%d:e"f g` + "\n", at, "a%2Fb%3Dc%25d%3Ae%22f%20g%0A/"},
		{"{stream}", "__0x2f__", at, "%5F_0x2f__/"},
		{"{stream}", "größe 注文", at, "größe%20注文/"},
	} {
		p, err := parsePath(test.path)
		if err != nil {
			t.Fatal(err)
		}
		if got := p.folder(&b, &connectors.Record{Stream: test.stream, ReceivedAt: test.at}); got != test.want {
			t.Errorf("%q of stream %q: got %q, want %q", test.path, test.stream, got, test.want)
		}
	}
}

// TestLongNames proves that the longest names fit the stores, and that two of them are two folders.
func TestLongNames(t *testing.T) {
	t.Parallel()
	p, err := parsePath("{stream}/{installation}/{integration}/{user}/{date}/{hour}")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, name := range []string{strings.Repeat("é", 500), strings.Repeat("é", 500) + "x", strings.Repeat("/", 200), strings.Repeat("a/", 200)} {
		b := connectors.Batch{Installation: name, Integration: name, User: name, Lane: name + ".", Epoch: name}
		folder := p.folder(&b, &connectors.Record{Stream: name, ReceivedAt: received})
		key := series(folder, &b) + numbered(1<<63-1) + ".ndjson.zst"
		if len(key) > maxKey || !utf8.ValidString(key) || strings.Count(key, "/") != 6 {
			t.Errorf("%d bytes: %q", len(key), key)
		}
		if strings.Contains(strings.ReplaceAll(key, "%2F", ""), "%") && !strings.Contains(key, "%2E") {
			t.Errorf("%q has half an escape", key)
		}
		seen[folder] = true
	}
	if len(seen) != 4 {
		t.Errorf("%d folders, want 4", len(seen))
	}
}

// TestNamesAreApart proves that lane and epoch can't be mistaken for each other in a name, and that names sort as ordinals do.
func TestNamesAreApart(t *testing.T) {
	t.Parallel()
	if a, b := series("", &connectors.Batch{Lane: "a.b", Epoch: "c"}), series("", &connectors.Batch{Lane: "a", Epoch: "b.c"}); a == b {
		t.Errorf("both are %q", a)
	}
	for _, pair := range [][2]int64{{0, 1}, {9, 10}, {99_999, 1 << 40}, {1 << 40, 1<<63 - 1}} {
		if numbered(pair[0]) >= numbered(pair[1]) {
			t.Errorf("%d does not sort before %d", pair[0], pair[1])
		}
	}
}
