package table_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/table"
)

// memory is a database of one ledger row, and of one table in layout columns, whose answers can be lost.
type memory struct {
	next     int64
	rows     map[string]int // ID to how often it was inserted
	rejected map[int64]string
	poison   string // ID of a row that is refused
	named    bool   // the refusal names the row, and those are refused whose ID ends as poison does
	lose     int    // how many commits to go until one's answer is lost; 0 = none
	begun    int
	tables   []string

	dialect table.Dialect
	columns []table.Column
	values  map[string]map[string]any // by ID and column
	stuck   map[string]bool           // columns that can't be widened
	meddle  func(*memory)             // is called before columns change
	changed int
}

func newMemory() *memory {
	return &memory{rows: make(map[string]int), rejected: make(map[int64]string), values: make(map[string]map[string]any)}
}

func (m *memory) Prepare(_ context.Context, tables []string) error {
	m.tables = tables
	return nil
}

func (m *memory) Begin(ctx context.Context, _ *connectors.Batch) (table.Tx, int64, error) {
	if ctx.Err() != nil {
		return nil, 0, ctx.Err()
	}
	m.begun++
	return &transaction{m: m, values: make(map[string]map[string]any)}, m.next, nil
}

func (m *memory) Change(_ context.Context, _ string, changes []table.Change) error {
	if m.meddle != nil {
		m.meddle(m)
	}
	m.changed++
	pending := m.dialect.Pending(changes, m.columns)
	for _, c := range pending {
		if c.Op == table.WidenColumn && m.stuck[c.Column.Name] {
			return &table.KeptError{Column: c.Column.Name}
		}
	}
	for _, c := range pending {
		i := slices.IndexFunc(m.columns, func(o table.Column) bool { return o.Name == c.Column.Name })
		switch {
		case i < 0:
			m.columns = append(m.columns, c.Column)
		case c.Op != table.AddColumn:
			m.columns[i] = c.Column
		}
	}
	return nil
}

type transaction struct {
	m      *memory
	rows   []table.Row
	values map[string]map[string]any
}

func (t *transaction) Columns(context.Context, string) ([]table.Column, error) {
	return slices.Clone(t.m.columns), nil
}

func (t *transaction) Rejected(context.Context, *connectors.Batch) (map[int64]string, error) {
	return t.m.rejected, nil
}

func (t *transaction) Insert(_ context.Context, _ *connectors.Batch, rows *table.Rows) error {
	for _, r := range rows.List {
		switch {
		case t.m.named && strings.HasSuffix(r.ID, t.m.poison):
			return &table.RowError{Reason: "it is poison", Record: r.Record}
		case !t.m.named && r.ID == t.m.poison:
			return &table.RowError{Reason: "it is poison"}
		}
	}
	t.rows = append(t.rows, rows.List...)
	columns := rows.Columns()
	for i, r := range rows.List {
		v, named := make([]any, len(columns)), make(map[string]any)
		rows.Values(i, v)
		for j, c := range columns {
			named[c.Name] = v[j]
		}
		t.values[r.ID] = named
	}
	return nil
}

func (t *transaction) Commit(_ context.Context, _ *connectors.Batch, next int64, rejected map[int64]string) error {
	for _, r := range t.rows {
		t.m.rows[r.ID]++
	}
	maps.Copy(t.m.values, t.values)
	maps.Copy(t.m.rejected, rejected)
	t.m.next = next
	if t.m.lose--; t.m.lose == 0 {
		return connectors.Errorf(connectors.Unavailable, "commit", "the answer is lost")
	}
	return nil
}

func (t *transaction) Rollback() {}

var limits = table.Limits{Records: 10, Bytes: 1000, Data: 100, Name: 20}

func batch(n int) connectors.Batch {
	b := connectors.Batch{Installation: "i/ada", Integration: "i", User: "ada", Epoch: "e", Lane: "l", Next: int64(n), Mode: connectors.Append}
	for i := range n {
		b.Records = append(b.Records, connectors.Record{ID: fmt.Sprint(i), Stream: "orders", Ordinal: int64(i), Data: []byte(`{}`)})
	}
	return b
}

func write(t *testing.T, m *memory, b connectors.Batch) (connectors.Result, error) {
	t.Helper()
	name, err := table.ParseName("")
	if err != nil {
		t.Fatal(err)
	}
	return table.Write(t.Context(), m, table.Options{Name: name, Limits: limits}, b)
}

// Whichever commit's answer is lost: the attempt that comes again inserts nothing twice and rejects again what was rejected, although it never
// shows the row to the database.
func TestLostAnswers(t *testing.T) {
	t.Parallel()
	for lost := 1; lost < 20; lost++ {
		m := newMemory()
		m.poison, m.lose = "37", lost
		b := batch(60)
		_, err := write(t, m, b)
		if (err == nil) != (m.lose > 0) {
			t.Fatalf("commit %d lost: %v", lost, err)
		}
		r, err := write(t, m, b)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range r.Outcomes {
			want := connectors.Durable
			if i == 37 {
				want = connectors.Rejected
			}
			if o != want {
				t.Fatalf("commit %d lost: record %d has the outcome %d", lost, i, o)
			}
			if n := m.rows[fmt.Sprint(i)]; (i == 37) != (n == 0) || n > 1 {
				t.Fatalf("commit %d lost: record %d was inserted %d times", lost, i, n)
			}
		}
		if m.next != b.Next {
			t.Fatalf("the ledger stands at %d", m.next)
		}
	}
}

// Rows that the database names are left out at once: nothing is halved.
func TestNamedRowsAreNotLookedFor(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ records, poisoned, begun int }{
		{10, 1, 2},        // once with it, once without
		{30, 3, 6},        // in three statements
		{1_000, 100, 200}, // in a hundred
	} {
		m := newMemory()
		m.poison, m.named = "7", true
		r, err := write(t, m, batch(test.records))
		if err != nil {
			t.Fatal(err)
		}
		if len(r.Reasons) != test.poisoned || len(m.rows) != test.records-test.poisoned || m.begun != test.begun {
			t.Errorf("of %d records %d were rejected and %d written in %d transactions", test.records, len(r.Reasons), len(m.rows), m.begun)
		}
		for i, o := range r.Outcomes {
			if (o == connectors.Rejected) != (i%10 == 7) || o == connectors.Again {
				t.Errorf("record %d: outcome %d", i, o)
			}
		}
	}
	// Where nearly every row is wrong, they are still found.
	m := newMemory()
	m.poison, m.named = "", true
	if r, err := write(t, m, batch(25)); err != nil || len(r.Reasons) != 25 || m.next != 25 {
		t.Errorf("%d rejected, the ledger at %d, %v", len(r.Reasons), m.next, err)
	}
}

// A batch that was written long ago does not move the ledger back.
func TestLedgerOnlyAdvances(t *testing.T) {
	t.Parallel()
	m := newMemory()
	old := batch(30)
	for _, b := range []connectors.Batch{batch(60), old} {
		if r, err := write(t, m, b); err != nil || r.Outcomes[0] != connectors.Durable || m.next != 60 {
			t.Fatalf("the ledger stands at %d, %v", m.next, err)
		}
	}
}

// What an attempt has committed before it failed is in its result.
func TestProgressBesideAnError(t *testing.T) {
	t.Parallel()
	m := newMemory()
	m.lose = 3
	r, err := write(t, m, batch(60))
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != connectors.Unavailable {
		t.Fatalf("got %v", err)
	}
	for i, o := range r.Outcomes {
		if want := i < 20; want != (o == connectors.Durable) {
			t.Fatalf("record %d has the outcome %d", i, o)
		}
	}
}

func TestStatementsAreBounded(t *testing.T) {
	t.Parallel()
	m := newMemory()
	b := batch(25)
	b.Records[3].Data = []byte(strings.Repeat("x", 100)) // not more than a column holds
	b.Records[4].Data = []byte(strings.Repeat("x", 101))
	b.Records[5].ID = "\xff"
	b.Records[6].Key = "a\x00b"
	b.Records[7].ID = strings.Repeat("i", 513)
	b.Records[8].ID = ""
	b.Records[9].Stream = ""
	b.Records[10].Stream = "_Tributary_ledger"
	r, err := write(t, m, b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range r.Outcomes {
		if want := i >= 4 && i <= 10; want != (o == connectors.Rejected) || want != (r.Reasons[i] != "") {
			t.Fatalf("record %d has the outcome %d, %q", i, o, r.Reasons[i])
		}
	}
	if m.begun != 3 || len(m.rows) != 18 || !slices.Equal(m.tables, []string{"orders"}) {
		t.Fatalf("%d transactions, %d rows, tables %q", m.begun, len(m.rows), m.tables)
	}

	m = newMemory()
	b = batch(30)
	for i := range b.Records {
		b.Records[i].Data = []byte(strings.Repeat("x", 99))
	}
	if _, err := write(t, m, b); err != nil {
		t.Fatal(err)
	}
	if m.begun != 3 { // ten of 99 bytes are just below 1000
		t.Fatalf("%d transactions", m.begun)
	}
}

func TestBatchesThatWouldHarmTheLedger(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*connectors.Batch){
		"no epoch":       func(b *connectors.Batch) { b.Epoch = "" },
		"no mode":        func(b *connectors.Batch) { b.Mode = "" },
		"next too low":   func(b *connectors.Batch) { b.Next-- },
		"first too high": func(b *connectors.Batch) { b.First++ },
		"descending":     func(b *connectors.Batch) { b.Records[1].Ordinal = 0 },
	} {
		m := newMemory()
		b := batch(3)
		change(&b)
		_, err := write(t, m, b)
		var e *connectors.Error
		if !errors.As(err, &e) || e.Kind != connectors.Invalid || m.begun > 0 {
			t.Errorf("%s: got %v after %d transactions", name, err, m.begun)
		}
	}
}

func TestName(t *testing.T) {
	t.Parallel()
	b := connectors.Batch{Integration: "shop", User: "ada"}
	for template, want := range map[string]string{
		"":                                 "orders",
		"all":                              "all",
		"{integration}_{user}.{stream}":    "shop_ada.orders",
		"a_name_of_twenty_one_":            "a_name_of_t_1e26f5e8",
		"{stream}{stream}{stream}{stream}": "ordersorder_",
	} {
		n, err := table.ParseName(template)
		if err != nil {
			t.Fatal(err)
		}
		got := n.For(b, "orders", 20)
		if len(got) > 20 || !strings.HasPrefix(got, want) && got != want {
			t.Errorf("%q: got %q, want %q", template, got, want)
		}
	}
	n, _ := table.ParseName("")
	if n.For(b, strings.Repeat("é", 20)+"a", 20) == n.For(b, strings.Repeat("é", 20)+"b", 20) {
		t.Error("two long names are one table")
	}
}
