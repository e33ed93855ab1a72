package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tributary/internal/catalog"
	"tributary/internal/segment"
	"tributary/tests/stack"
)

// thing is what must arrive once: a record's ID and the SHA-256 of its payload.
type thing struct {
	id  string
	sum [32]byte
}

func thingOf(id string, payload []byte) thing { return thing{id, sha256.Sum256(payload)} }

// tally is a multiset of things.
type tally map[thing]int

// diff says what b lacks of a and what it has beyond a.
func (a tally) diff(b tally) (missing, surplus int) {
	for k, n := range a {
		missing += max(n-b[k], 0)
	}
	for k, n := range b {
		surplus += max(n-a[k], 0)
	}
	return missing, surplus
}

// with adds what stands elsewhere and not here.
func (a tally) with(b tally) tally {
	for k, n := range b {
		a[k] = max(a[k], n)
	}
	return a
}

// rowsOf reads what arrived in a table: in column id the name of each row's thing.
func rowsOf(t *testing.T, dsn, table, id string) tally {
	t.Helper()
	return rowsAs(t, dsn, table, id, "data::text")
}

// rowsAs reads as rowsOf does; text is an expression for the payload.
func rowsAs(t *testing.T, dsn, table, id, text string) tally {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	rows, err := c.Query(ctx, "SELECT "+id+", sha256(convert_to("+text+", 'UTF8')) FROM "+pgx.Identifier{table}.Sanitize())
	out := tally{}
	var name string
	var sum []byte
	if err == nil {
		_, err = pgx.ForEachRow(rows, []any{&name, &sum}, func() error { out[thing{name, [32]byte(sum)}]++; return nil })
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "42P01" {
		return out // the table is made by the first write
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// held is what an installation has in quarantine for a lane, or for all of them.
func held(t *testing.T, s *stack.Stack, installation, lane string) tally {
	t.Helper()
	ctx := context.Background()
	out := tally{}
	rows, err := s.Catalog.Quarantined(ctx, catalog.QuarantineFilter{Installation: installation, Limit: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	loaded := map[string]*segment.Segment{} // many rows are of one
	for _, row := range rows {
		if row.Lane != lane && row.Lane != "" {
			continue
		}
		g := loaded[row.Segment]
		if g == nil {
			if g, err = s.Segments.Load(ctx, row.Segment); err != nil {
				t.Fatal(err)
			}
			loaded[row.Segment] = g
		}
		for _, r := range g.Slice(row.Index, row.Index+1) {
			out[thingOf(row.RecordID, r.Data)] = 1
		}
	}
	return out
}

func count(t *testing.T, dsn, query string, args ...any) int {
	t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(ctx)
	n := 0
	if err := c.QueryRow(ctx, query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}
