package postgres

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"tributary/connectors"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// Rows go by COPY into a temporary table, the stage, then from there into their own.

// stage is where the rows of one statement lie: its columns are lot, those of the metadata, and one for each value.
type stage struct {
	name    string
	lot     int32
	columns []table.Column
	names   []string
	create  string
}

const stagedMetadata = `lot int, _stream text, _id text, _key text, _op text, _version bigint, _version_seen bigint,
	_occurred_at timestamptz, _received_at timestamptz, _ordinal bigint`

var stagedNames = []string{"lot", "_stream", "_id", "_key", "_op", "_version", "_version_seen", "_occurred_at", "_received_at", "_ordinal"}

// newStage is that of the n-th rows of a transaction. Layout raw has one for all tables, which stays with the session, so that a statement costs no change of the
// catalog, and is emptied by each commit. Its name changes with its columns: a pooler may keep sessions over an upgrade.
func (s *store) newStage(lot int, columns []table.Column) *stage {
	g := &stage{name: "_tributary_stage_2", lot: int32(lot), columns: columns, names: stagedNames[:len(stagedNames):len(stagedNames)]}
	how, end := "TEMP TABLE IF NOT EXISTS ", "DELETE ROWS"
	if s.layout == connectors.LayoutColumns {
		g.name = fmt.Sprint("_tributary_stage_of_columns_", lot)
		how, end = "TEMP TABLE ", "DROP"
	}
	var definition strings.Builder
	for i, c := range columns {
		g.names = append(g.names, fmt.Sprint("v", i))
		definition.WriteString(", " + g.names[len(stagedNames)+i] + " " + stagedType(c.Type))
	}
	g.create = "CREATE " + how + g.name + " (" + stagedMetadata + definition.String() + ") ON COMMIT " + end
	return g
}

// stagedType is the type in which values come that Rows.Values makes for a type.
func stagedType(t table.Type) string {
	switch t {
	case table.Boolean, table.Integer, table.Timestamp, table.JSON:
		return natives[t]
	}
	return "text"
}

// cast makes a staged value one of its column.
func cast(staged string, c table.Column) string {
	switch c.Type {
	case table.Decimal, table.JSON, table.Other:
		return staged + "::" + cmp.Or(c.Native, natives[c.Type])
	case table.Timestamp:
		if strings.HasSuffix(c.Native, "without time zone") {
			return staged + " AT TIME ZONE 'UTC'"
		}
	}
	return staged
}

// from names the staged rows, by the parameter behind the installation.
func (g *stage) from() string { return "pg_temp." + g.name + " WHERE lot = $2::int" }

// insert is the statement that takes rows from somewhere into their table. Upsert keeps the record that package table says (I5).
func (g *stage) insert(into string, mode connectors.Mode, source string) string {
	var to, from, set []string
	for _, name := range stagedNames[1:] {
		if name == seenColumn.name && mode == connectors.Append {
			continue
		}
		to, from = append(to, name), append(from, name)
	}
	for i, c := range g.columns {
		name := pgx.Identifier{c.Name}.Sanitize()
		to, from = append(to, name), append(from, cast(g.names[len(stagedNames)+i], c))
		set = append(set, ", "+name+" = excluded."+name)
	}
	head := "INSERT INTO " + into + " AS t (_installation, " + strings.Join(to, ", ") + ") SELECT $1::text, " + strings.Join(from, ", ") +
		" FROM " + source
	if mode == connectors.Append {
		return head + " ON CONFLICT (" + appendKey + ") DO NOTHING"
	}
	return head + " ON CONFLICT (" + upsertKey + `) DO UPDATE SET _id = excluded._id, _op = excluded._op, _version = excluded._version,
		_occurred_at = excluded._occurred_at, _received_at = excluded._received_at, _ordinal = excluded._ordinal,
		_version_seen = greatest(t._version_seen, excluded._version_seen)` + strings.Join(set, "") + `
		WHERE excluded._version = 0 OR excluded._version > t._version_seen
			OR (excluded._version = t._version_seen AND t._version = t._version_seen)`
}

func (t *ledgerTx) Insert(ctx context.Context, b *connectors.Batch, rows *table.Rows) error {
	t.lots++
	g := t.newStage(t.lots, rows.Columns())
	if few(rows.List) {
		source, arrays := g.arrays(rows)
		if _, err := t.Exec(ctx, g.insert(t.own(rows.Table), b.Mode, source), append([]any{b.Installation}, arrays...)...); err != nil {
			return t.refusedBy(g.columns, "insert into "+t.own(rows.Table), err)
		}
		return nil
	}
	if !t.staged || t.layout == connectors.LayoutColumns {
		if _, err := t.Exec(ctx, g.create); err != nil {
			return t.failed(pgwire.CreatingStage, err)
		}
		t.staged = true
	}
	source := &copySource{rows: rows, lot: g.lot, values: make([]any, len(g.names))}
	if _, err := t.Conn.Conn().CopyFrom(ctx, pgx.Identifier{"pg_temp", g.name}, g.names, source); err != nil {
		return t.refused("copy rows", err)
	}
	if _, err := t.Exec(ctx, g.insert(t.own(rows.Table), b.Mode, g.from()), b.Installation, g.lot); err != nil {
		return t.refusedBy(g.columns, "insert into "+t.own(rows.Table), err)
	}
	return nil
}

// refusedBy is refused, for rows whose values may be null where a column of the operator's must not be.
func (t *ledgerTx) refusedBy(columns []table.Column, op string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23502" {
		for _, c := range columns {
			if c.Name == pg.ColumnName && t.layout == connectors.LayoutColumns {
				return &table.RowError{Reason: fmt.Sprintf("column %q wants a value and the payload has none (SQLSTATE %s)", c.Name, pg.Code)}
			}
		}
	}
	return t.refused(op, err)
}

// copySource feeds rows to COPY.
type copySource struct {
	rows   *table.Rows
	at     int
	lot    int32
	values []any
}

func (s *copySource) Next() bool {
	s.at++
	return s.at <= len(s.rows.List)
}

func (s *copySource) Values() ([]any, error) {
	r := s.rows.List[s.at-1]
	own := append(s.values[:0], s.lot, r.Stream, r.ID, r.Key, string(r.Op), r.Version, r.Seen, timestamp(r.OccurredAt), timestamp(r.ReceivedAt), r.Ordinal)
	s.rows.Values(s.at-1, s.values[len(own):])
	return s.values, nil
}

func (s *copySource) Err() error { return nil }

// timestamp returns an untyped nil for NULL.
func timestamp(t time.Time) any {
	if t, ok := table.Time(t); ok {
		return t
	}
	return nil
}
