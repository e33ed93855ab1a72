package magento_test

import (
	"maps"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
)

// A block reads the values of its store view, and those of the admin's scope unless it names one. What changes in one view is a change for every block, for
// an object has one time of change; each reads it with its own values.
func TestABlockReadsItsStoreView(t *testing.T) {
	t.Parallel()
	for _, stream := range []string{"products", "categories"} {
		t.Run(stream, func(t *testing.T) {
			t.Parallel()
			s := magentotest.New(t, returned)
			s.Put(stream, 1, s.Now())
			s.Put(stream, 2, s.Now())
			s.Name("all", stream, 1, s.Now(), `"Chair"`)
			s.Name("all", stream, 2, s.Now(), `"Table"`)
			s.Name("german", stream, 1, s.Now(), `"Stuhl"`)
			s.Name("default", stream, 2, s.Now(), `"Desk"`)
			sources, cursors := map[string]connectors.Source{}, map[string]*[]byte{}
			for _, store := range []string{"", "all", "default", "german"} {
				sources[store], cursors[store] = open(t, s, magento.Settings{Store: store, Overlap: "1s"}), new([]byte)
			}
			want := func(what string, all map[string]map[string]string) {
				t.Helper()
				for store, names := range all {
					got := map[string]string{}
					for _, r := range connectortest.Poll(t, sources[store], stream, cursors[store]) {
						if r.Version == s.Now().UnixMicro() { // others come again: the overlap begins with the whole second before
							got[r.Key] = gjson.GetBytes(r.Data, "name").Str
						}
					}
					if !maps.Equal(got, names) {
						t.Errorf("%s: store %q: names are %v, want %v", what, store, got, names)
					}
				}
			}
			defaults := map[string]string{"1": "Chair", "2": "Table"}
			want("at first", map[string]map[string]string{
				"": defaults, "all": defaults, "default": {"1": "Chair", "2": "Desk"}, "german": {"1": "Stuhl", "2": "Table"},
			})
			s.Advance(time.Minute)
			s.Name("german", stream, 2, s.Now(), `"Tisch"`)
			want("after a change in one view", map[string]map[string]string{
				"": {"2": "Table"}, "all": {"2": "Table"}, "default": {"2": "Desk"}, "german": {"2": "Tisch"},
			})
			s.Advance(time.Minute)
			s.Name("all", stream, 1, s.Now(), `"Stool"`)
			want("after a change of what they share", map[string]map[string]string{
				"": {"1": "Stool"}, "all": {"1": "Stool"}, "default": {"1": "Stool"}, "german": {"1": "Stuhl"},
			})
		})
	}
}
