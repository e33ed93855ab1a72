package bigquery

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	rest "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/googleapi"

	"tributary/connectors"
	"tributary/connectors/table"
)

// dialect of the columns. BIGNUMERIC has 38 digits before the point and 38 behind in every case
// (https://cloud.google.com/bigquery/docs/reference/standard-sql/data-types#decimal_types); a table has 10,000 columns, a column's name 300 characters. Only an integer can be widened,
// to a decimal (https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules#coercion).
var dialect = table.Dialect{
	Integer: 38, Fraction: 38, Name: 300, Columns: 2_000, Text: 8 << 20,
	Spell: spellColumn, Fold: strings.ToLower, Reserved: reservedColumn,
	Widens: func(from, to table.Type) bool { return from == table.Integer && to == table.Decimal },
}

// native is the type of the columns that are made for fields.
func (d dataset) native(t table.Type) string {
	switch t {
	case table.Boolean:
		return "BOOLEAN"
	case table.Integer:
		return "INTEGER"
	case table.Decimal:
		return "BIGNUMERIC"
	case table.Timestamp:
		return "TIMESTAMP"
	case table.JSON:
		return d.json
	}
	return "STRING"
}

// typeOf says what a type of BigQuery's holds.
func typeOf(native string) table.Type {
	switch native {
	case "BOOLEAN":
		return table.Boolean
	case "INTEGER":
		return table.Integer
	case "NUMERIC", "BIGNUMERIC":
		return table.Decimal
	case "STRING":
		return table.Text
	case "TIMESTAMP":
		return table.Timestamp
	case "JSON":
		return table.JSON
	}
	return table.Closed // FLOAT would round, others take no JSON
}

// valueColumns are the columns that values go into, as they stand in the table.
func (s *store) valueColumns(columns []table.Column) []column {
	values := make([]column, len(columns))
	for i, c := range columns {
		kind := c.Native
		if kind == "" {
			kind = s.dataset.native(c.Type)
		}
		values[i] = column{c.Name, kind, false}
	}
	return values
}

// memory is what a column is for. It stands at the end of the column's description, so that it changes with the column at once, and goes with the table.
type memory struct {
	Part  table.Part `json:"part"`
	Field string     `json:"field"`
	Type  table.Type `json:"type,omitempty"` // it was made with; None: it is the operator's
}

const memoryMark = "\n[tributary] "

// maxDescription in characters: https://cloud.google.com/bigquery/docs/schemas#column_descriptions
const maxDescription = 1024

func (m memory) describe(before string) string {
	text, _ := json.Marshal(m) // strings and a number
	tail := memoryMark + string(text)
	if len(tail) > maxDescription { // a field of control characters: found by its hash, as a field that is longer than a table remembers
		m.Field = "sha256:" + digest(m.Field)
		text, _ = json.Marshal(m)
		tail = memoryMark + string(text)
	}
	if before, _, _ = strings.Cut(before, memoryMark); utf8.RuneCountInString(before)+utf8.RuneCountInString(tail) > maxDescription {
		before = connectors.Clip(before, maxDescription-len(tail))
	}
	return before + tail
}

func recall(description string) (m memory, ok bool) {
	_, tail, ok := strings.Cut(description, memoryMark)
	return m, ok && json.Unmarshal([]byte(tail), &m) == nil
}

// columnsOf are the columns of a table besides those of the metadata.
func columnsOf(t *rest.Table) []table.Column {
	own := make(map[string]bool)
	for _, c := range recordColumns {
		own[c.name] = true
	}
	var columns []table.Column
	for _, f := range t.Schema.Fields {
		name := strings.ToLower(f.Name)
		if own[name] || name == seenColumn {
			continue
		}
		c := table.Column{Name: f.Name, Native: kindOf(f), Type: typeOf(kindOf(f))}
		if m, ok := recall(f.Description); ok {
			c.Part, c.Field = m.Part, m.Field
			switch {
			case m.Type == table.JSON && c.Native == "STRING": // JSON as text
				c.Type, c.Made = table.JSON, true
			case m.Type == c.Type || m.Type == table.Integer && c.Native == "BIGNUMERIC":
				c.Made = true
			}
		}
		columns = append(columns, c)
	}
	return columns
}

func (t *transaction) Columns(ctx context.Context, name string) ([]table.Column, error) {
	found, err := t.client.rest.Tables.Get(t.dataset.project, t.dataset.name, tableID(name)).Context(ctx).Do()
	if err != nil {
		return nil, t.failed("read columns of "+name, err)
	}
	return columnsOf(found), nil
}

// Change adds columns in one PATCH that holds only for the schema that was read; who was first there makes it fail, and it looks again.
func (s *store) Change(ctx context.Context, name string, changes []table.Change) error {
	op := "change columns of " + name
	for {
		found, err := s.client.rest.Tables.Get(s.dataset.project, s.dataset.name, tableID(name)).Context(ctx).Do()
		if err != nil {
			return s.failed(op, err)
		}
		pending := dialect.Pending(changes, columnsOf(found))
		err = s.patch(ctx, found, pending)
		if isStatus(err, http.StatusPreconditionFailed) {
			continue
		}
		if err == nil {
			err = s.widen(ctx, tableID(name), pending)
		}
		if err != nil {
			return s.failed(op, err)
		}
		return nil
	}
}

func (s *store) patch(ctx context.Context, t *rest.Table, changes []table.Change) error {
	changed := false
	for _, c := range changes {
		m := memory{Part: c.Column.Part, Field: c.Column.Field, Type: c.Column.Type}
		switch c.Op {
		case table.AddColumn:
			t.Schema.Fields = append(t.Schema.Fields, &rest.TableFieldSchema{Name: c.Column.Name, Type: s.dataset.native(c.Column.Type), Mode: "NULLABLE", Description: m.describe("")})
			changed = true
		case table.AdoptColumn:
			m.Type = table.None
			for _, f := range t.Schema.Fields {
				if strings.EqualFold(f.Name, c.Column.Name) {
					f.Description, changed = m.describe(f.Description), true
				}
			}
		}
	}
	if !changed {
		return nil
	}
	call := s.client.rest.Tables.Patch(s.dataset.project, s.dataset.name, t.TableReference.TableId, &rest.Table{Schema: t.Schema}).Context(ctx)
	call.Header().Set("If-Match", t.Etag)
	_, err := call.Do()
	return err
}

// widen changes types, which only a statement can. A table is not written anew for it.
func (s *store) widen(ctx context.Context, id string, changes []table.Change) error {
	for _, c := range changes {
		if c.Op != table.WidenColumn {
			continue
		}
		sql := "ALTER TABLE " + s.dataset.own(id) + " ALTER COLUMN " + quoted(c.Column.Name) + " SET DATA TYPE " + s.dataset.native(c.Column.Type)
		err := s.client.query(ctx, s.place.location, sql, nil, func([]string) error { return nil })
		if answer := (*googleapi.Error)(nil); errors.As(err, &answer) && answer.Code == http.StatusBadRequest && !strings.Contains(answer.Message, raced) {
			return &table.KeptError{Column: c.Column.Name, Err: err} // a clustering column, a view that is materialized, ...
		}
		if err != nil {
			return err
		}
	}
	return nil
}
