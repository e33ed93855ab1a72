package redshift

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tributary/connectors"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// A few rows go as parameters of an INSERT into the staging table: that takes tenths of a second, where two files and a COPY take seconds. The parameter of an INSERT is a VARCHAR.
const (
	fewRows  = 100
	fewBytes = 256 << 10
)

// stage is where the rows of one statement for one table lie: its columns are those of the metadata, and v0, v1, ... for the values.
type stage struct {
	name, table string
	columns     []table.Column
	few         bool
}

// stagedColumns are those of the metadata.
var stagedColumns = append(append([]column(nil), metadataColumns...), seenColumn)

func (s *store) newStage(rows *table.Rows, few bool) *stage {
	random := make([]byte, 8)
	_, _ = rand.Read(random) // never fails
	g := &stage{name: table.Own + "stage_" + hex.EncodeToString(random), table: spell(rows.Table), columns: rows.Columns(), few: few}
	for i := range g.columns {
		g.columns[i].Native = cmp.Or(g.columns[i].Native, s.native(g.columns[i].Type))
	}
	return g
}

func (g *stage) names() []string {
	var names []string
	for _, c := range stagedColumns {
		names = append(names, c.name)
	}
	for i := range g.columns {
		names = append(names, fmt.Sprint("v", i))
	}
	return names
}

// create makes the table for the session alone, spread as the rows' own table is.
func (g *stage) create() string {
	var lines []string
	for _, c := range stagedColumns {
		lines = append(lines, c.name+" "+c.kind)
	}
	for i, c := range g.columns {
		lines = append(lines, fmt.Sprintf("v%d %s", i, g.stagedType(c)))
	}
	return "CREATE TEMP TABLE " + quote(g.name) + " (" + strings.Join(lines, ", ") + ") DISTSTYLE KEY DISTKEY (_identity)"
}

// stagedType is the type in which values come.
func (g *stage) stagedType(c table.Column) string {
	switch {
	case c.Type == table.Boolean, c.Type == table.Integer:
		return natives[c.Type]
	case c.Type == table.Timestamp:
		return pgwire.Timestamp
	case c.Native == superType && !g.few:
		return superType
	}
	return textType
}

// cast makes a staged value one of its column.
func (g *stage) cast(i int) string {
	staged, c := fmt.Sprint("s.v", i), g.columns[i]
	switch {
	case c.Native == superType && g.few:
		return "JSON_PARSE(" + staged + ")"
	case c.Type == table.Decimal, c.Type == table.Other:
		return "CAST(" + staged + " AS " + c.Native + ")"
	case c.Native == "timestamp without time zone":
		return staged + " AT TIME ZONE 'UTC'"
	}
	return staged
}

// insert takes in the rows whose identity is not there yet.
func (g *stage) insert(into string, mode connectors.Mode) string {
	var to, from []string
	for _, c := range stagedColumns {
		if c == seenColumn && mode == connectors.Append {
			continue
		}
		to, from = append(to, c.name), append(from, "s."+c.name)
	}
	for i, c := range g.columns {
		to, from = append(to, quote(c.Name)), append(from, g.cast(i))
	}
	return "INSERT INTO " + into + " (" + strings.Join(to, ", ") + ") SELECT " + strings.Join(from, ", ") + " FROM " + quote(g.name) + " s LEFT JOIN " + into +
		" t ON t._identity = s._identity WHERE t._identity IS NULL"
}

// update changes the rows that are there, where the record that comes wins (I5); see package table. It leaves columns of the operator's alone, which deleting and
// inserting would not.
func (g *stage) update(into string) string {
	var set strings.Builder
	for i, c := range g.columns {
		set.WriteString(", " + quote(c.Name) + " = " + g.cast(i))
	}
	return "UPDATE " + into + ` AS t SET _id = s._id, _op = s._op, _version = s._version, _occurred_at = s._occurred_at, _received_at = s._received_at, _ordinal = s._ordinal,
		_version_seen = GREATEST(t._version_seen, s._version_seen)` + set.String() + " FROM " + quote(g.name) + ` s WHERE t._identity = s._identity
		AND (s._version = 0 OR s._version > t._version_seen OR (s._version = t._version_seen AND t._version = t._version_seen))`
}

// Insert loads rows into a staging table of their own.
func (t *ledgerTx) Insert(ctx context.Context, b *connectors.Batch, rows *table.Rows) error {
	g := t.newStage(rows, false)
	e := &encoder{stage: g, batch: b, rows: rows, values: make([]any, len(g.columns))}
	g.few = e.isFew()
	load := t.copyFiles
	if g.few {
		load = t.insertFew
	}
	return load(ctx, e)
}

func (t *ledgerTx) stageFor(ctx context.Context, g *stage) error {
	if _, err := t.Exec(ctx, g.create()); err != nil {
		return t.failed(pgwire.CreatingStage, err)
	}
	t.stages = append(t.stages, g)
	return nil
}

// insertFew loads rows as parameters.
func (t *ledgerTx) insertFew(ctx context.Context, e *encoder) error {
	var all [][]*string
	for i := range e.rows.List {
		row, err := e.row(i)
		if err != nil {
			return err
		}
		all = append(all, row)
	}
	if err := t.stageFor(ctx, e.stage); err != nil {
		return err
	}
	head := "INSERT INTO " + quote(e.stage.name) + " (" + strings.Join(e.stage.names(), ", ") + ")"
	if err := insertRows(ctx, t.session, head, all); err != nil {
		return t.refused("insert rows", err)
	}
	return nil
}

// copyFiles loads rows by files in S3, which are removed again.
func (t *ledgerTx) copyFiles(ctx context.Context, e *encoder) error {
	upload, err := t.pool.files.put(ctx, e)
	defer upload.remove()
	if err != nil {
		return err
	}
	if err := t.stageFor(ctx, e.stage); err != nil {
		return err
	}
	if _, err := t.Exec(ctx, t.pool.files.load(e.stage, upload.manifest)); err != nil {
		var pg *pgconn.PgError
		if errors.As(err, &pg) && isLoadError(pg) {
			return t.loadError(ctx, e, upload)
		}
		return t.failed("copy rows", err)
	}
	return nil
}

// loadError finds out what COPY had against which row. Redshift's own words are not repeated: they may quote it (I7). What it says of other files is of
// earlier loads of the session; where it has not come round to this one yet, the row is found by halves.
// https://docs.aws.amazon.com/redshift/latest/dg/SYS_LOAD_ERROR_DETAIL.html
func (t *ledgerTx) loadError(ctx context.Context, e *encoder, u *upload) error {
	unknown := &table.RowError{Reason: "Redshift refused it when it was loaded"}
	var pid string // a function of the leader node can't stand in a query of what is on the others
	if err := t.QueryRow(ctx, "SELECT CAST(pg_backend_pid() AS varchar(16))").Scan(&pid); err != nil {
		return unknown
	}
	rows, err := t.Query(ctx, `SELECT TRIM(file_name), line_number, TRIM(column_name), error_code FROM sys_load_error_detail
		WHERE session_id = $1 ORDER BY start_time DESC, line_number LIMIT 20`, pid)
	if err != nil {
		return unknown
	}
	defer rows.Close()
	for rows.Next() {
		var file, name string
		var line, code int64
		if err := rows.Scan(&file, &line, &name, &code); err != nil {
			return unknown
		}
		i := u.rowAt(file, int(line))
		if i < 0 || i >= len(e.rows.List) {
			continue
		}
		for j, c := range e.stage.columns {
			if fmt.Sprint("v", j) == name {
				name = c.Name
			}
		}
		return refusedRow(e.rows.List[i], "Redshift refused it when it was loaded: column %q, error %d", connectors.Clip(name, maxName), code)
	}
	return unknown
}

// encoder makes the rows of a statement into what a staging table takes.
type encoder struct {
	stage  *stage
	batch  *connectors.Batch
	rows   *table.Rows
	values []any
}

// isFew says whether the rows can go as parameters.
func (e *encoder) isFew() bool {
	n := len(e.rows.List)
	if n > fewRows || n*(len(stagedColumns)+len(e.stage.columns)) > maxParameters {
		return false
	}
	bytes := 0
	for _, r := range e.rows.List {
		if len(r.Data) > maxText {
			return false
		}
		bytes += len(r.Data)
	}
	return bytes <= fewBytes
}

func refusedRow(r table.Row, format string, args ...any) *table.RowError {
	return &table.RowError{Reason: fmt.Sprintf(format, args...), Record: r.Record}
}

// row is a row's values as text, in the order of the stage's names, nil for NULL. The error is a *table.RowError for what the columns can't hold.
func (e *encoder) row(i int) ([]*string, error) {
	r := e.rows.List[i]
	if len(r.Stream) > maxWho {
		return nil, refusedRow(r, "the record's stream is longer than %d bytes", maxWho)
	}
	text := func(s string) *string { return &s }
	row := []*string{
		text(identity(e.batch, r.Record)), text(e.batch.Installation), text(r.Stream), text(r.ID), text(r.Key), text(string(r.Op)), text(decimal(r.Version)),
		timestamp(r.OccurredAt), timestamp(r.ReceivedAt), text(decimal(r.Ordinal)), text(decimal(r.Seen)),
	}
	e.rows.Values(i, e.values)
	for j, v := range e.values {
		c := e.stage.columns[j]
		var s *string
		switch v := v.(type) {
		case nil:
		case bool:
			s = text(fmt.Sprint(v))
		case int64:
			s = text(decimal(v))
		case time.Time:
			s = timestamp(v)
		case string:
			s = text(v)
			if c.Type == table.Decimal {
				s = text(plain(v))
			}
		case []byte:
			s = text(string(v))
			if c.Native == superType {
				if reason := unfitForSuper(v); reason != "" {
					return nil, refusedRow(r, "column %q is SUPER, which does not hold the value as it is: %s", c.Name, reason)
				}
			}
		}
		if s != nil && len(*s) > maxText && c.Native != superType {
			return nil, refusedRow(r, "a value for column %q is longer than the %d bytes that a VARCHAR holds", c.Name, maxText)
		}
		row = append(row, s)
	}
	return row, nil
}
