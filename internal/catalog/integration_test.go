package catalog_test

import (
	"encoding/json"
	"reflect"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"tributary/internal/catalog"
	"tributary/internal/integration"
)

func spec(name, description string) integration.Spec {
	return integration.Spec{
		Name: name, Description: description, BacklogBytes: 1 << 20,
		Source: integration.Source{
			Connector: "shopify", Trigger: integration.Trigger{Kind: integration.Realtime}, Streams: []string{"orders", "customers"},
		},
		Destinations: []integration.Destination{{
			Name: "warehouse", Connector: "postgres", Hidden: true, Settings: json.RawMessage(`{"table":"ü<>&"}`), Select: ".customers.email",
		}},
	}
}

// A changed definition is a new revision, an equal one is not, and every revision stays readable as it was saved.
func TestRevisions(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		for _, step := range []struct {
			description string
			revision    int
		}{{"first", 1}, {"first", 1}, {"second", 2}, {"second", 2}, {"first", 3}} {
			revision, err := c.SaveIntegration(t.Context(), spec("shop", step.description))
			must(t, err)
			if revision != step.revision {
				t.Fatalf("saving %q gave revision %d, want %d", step.description, revision, step.revision)
			}
		}
		_, err := c.SaveIntegration(t.Context(), spec("crm", "other"))
		must(t, err)

		for revision, description := range map[int]string{1: "first", 2: "second", 3: "first", 0: "first"} {
			i, err := c.Integration(t.Context(), "shop", revision)
			must(t, err)
			if !reflect.DeepEqual(i.Spec, spec("shop", description)) {
				t.Errorf("revision %d is %+v", revision, i.Spec)
			}
			if revision == 0 && i.Revision != 3 {
				t.Errorf("the latest revision is %d", i.Revision)
			}
			if !i.Active || i.CreatedAt.IsZero() {
				t.Errorf("revision %d: active %v, created at %v", revision, i.Active, i.CreatedAt)
			}
		}
		_, err = c.Integration(t.Context(), "shop", 4)
		wantErr(t, err, catalog.ErrNotFound, "shop", "4")
		_, err = c.Integration(t.Context(), "nowhere", 0)
		wantErr(t, err, catalog.ErrNotFound, "nowhere")

		all, err := c.Integrations(t.Context())
		must(t, err)
		if len(all) != 2 || all[0].Spec.Name != "crm" || all[1].Spec.Name != "shop" || all[1].Revision != 3 {
			t.Errorf("integrations are %+v", all)
		}
	})
}

// Saves at the same time are numbered without gaps and without doubles.
func TestSaveAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		var (
			g         errgroup.Group
			mu        sync.Mutex
			revisions []int
		)
		for n := range 8 {
			g.Go(func() error {
				revision, err := c.SaveIntegration(t.Context(), spec("shop", string(rune('a'+n))))
				mu.Lock()
				defer mu.Unlock()
				revisions = append(revisions, revision)
				return err
			})
		}
		must(t, g.Wait())
		slices.Sort(revisions)
		if !slices.Equal(revisions, []int{1, 2, 3, 4, 5, 6, 7, 8}) {
			t.Errorf("revisions are %v", revisions)
		}
	})
}

func TestSetActive(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c := open(t, dsn)
		_, err := c.SaveIntegration(t.Context(), spec("shop", ""))
		must(t, err)
		for _, active := range []bool{false, true} {
			must(t, c.SetActive(t.Context(), "shop", active))
			i, err := c.Integration(t.Context(), "shop", 0)
			must(t, err)
			if i.Active != active {
				t.Errorf("active is %v", i.Active)
			}
		}
		wantErr(t, c.SetActive(t.Context(), "nowhere", true), catalog.ErrNotFound, "nowhere")
	})
}
