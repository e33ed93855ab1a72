package catalog

import (
	"path/filepath"
	"strings"
	"testing"
)

// What the receiver asks for each delivery, and what lists grow with, is found by an index.
func TestLookupsUseIndexes(t *testing.T) {
	t.Parallel()
	c, err := Open(t.Context(), filepath.Join(t.TempDir(), "catalog.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for query, index := range map[string]string{
		selectInstallation + `WHERE token_hash = $1 ORDER BY seq DESC LIMIT 1`:                                    "installations_token",
		selectInstallation + `WHERE id = $1 ORDER BY seq DESC LIMIT 1`:                                            "installations_id",
		selectInstallation + `WHERE connector = $1 AND account = $2 AND state <> 'ended' ORDER BY seq`:            "installations_account",
		`SELECT lane, count(*) FROM quarantine WHERE epoch = $1 AND state = 'held' GROUP BY lane`:                 "quarantine_state",
		`SELECT 1 FROM quarantine q WHERE q.epoch = $1 AND q.lane = $2 AND q.ordinal = $3 AND q.record_id = $4`:   "quarantine_ordinal",
		`SELECT id FROM quarantine WHERE id > $1 AND installation = $2 ORDER BY id LIMIT $3`:                      "quarantine_installation",
		`SELECT id FROM quarantine WHERE id > $1 AND epoch = $2 AND lane = $3 AND state = $4 ORDER BY id LIMIT 1`: "quarantine_state",
	} {
		rows, err := c.read.QueryContext(t.Context(), "EXPLAIN QUERY PLAN "+query, "a", "b", "c", "d")
		plan, err := collect(rows, err, func(r row) (string, error) {
			var (
				id, parent, unused int
				detail             string
			)
			err := r.Scan(&id, &parent, &unused, &detail)
			return detail, err
		})
		if err != nil {
			t.Fatal(err)
		}
		text := strings.Join(plan, "; ")
		if !strings.Contains(text, " "+index+" ") || strings.Contains(text, "SCAN") {
			t.Errorf("%s\nplan: %s", query, text)
		}
	}
}
