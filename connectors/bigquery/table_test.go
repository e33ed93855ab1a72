package bigquery_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"tributary/connectors"
	"tributary/connectors/bigquery"
	"tributary/connectors/bigquery/bigquerytest"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/fault"
)

// New tables are partitioned by the time of receipt and clustered by what is looked for.
func TestTablesAsMade(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t, returned)
	for unit, want := range map[string]string{"": "DAY", "hour": "HOUR", "none": ""} {
		d := open(t, bigquery.Definition(), direct(s), bigquery.Settings{Dataset: bigquerytest.Dataset, Table: "by_" + unit, Partition: unit}, connectors.Config{Mode: connectors.ModeUpsert})
		b := connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1)
		b.Lane = "lane of " + unit
		connectortest.Write(t, d, b)
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
		made := s.Table(t, "by_"+unit)
		got := ""
		if p := made.TimePartitioning; p != nil {
			got = p.Type
			if p.Field != "_received_at" {
				t.Errorf("it is partitioned by %s", p.Field)
			}
		}
		if got != want || !slices.Equal(made.Clustering.Fields, []string{"_installation", "_stream", "_key", "_id"}) {
			t.Errorf("partition %q makes %q, clustered by %q", unit, got, made.Clustering.Fields)
		}
	}
}

// A column of type JSON spells payloads anew, and a number that it can't hold sends that record alone to quarantine.
func TestTypeJSON(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		s := bigquerytest.New(t, returned)
		d := open(t, bigquery.Definition(), direct(s), bigquery.Settings{Dataset: bigquerytest.Dataset}, connectors.Config{Mode: mode})
		b := connectortest.Batch(mode, "orders", 0, 50)
		b.Records[7].Data = []byte(`{ "n": 123456789012345678901234567890 }`)
		b.Records[30].Data = []byte(`{"a": nonsense}`)
		b.Records[8].Data = []byte("{ \"b\" : [1, 2.50],\n\"a\":1, \"a\":2 }")
		for range 2 { // the second time the ledger knows the reasons
			r, err := d.Write(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range r.Outcomes {
				if bad := i == 7 || i == 30; bad != (o == connectors.Rejected) || bad != (r.Reasons[i] != "") || strings.Contains(r.Reasons[i], "nonsense") {
					t.Fatalf("record %d: outcome %d, %q", i, o, r.Reasons[i])
				}
			}
		}
		there := rows(t, s)
		if len(there) != 48 {
			t.Fatalf("%d rows", len(there))
		}
		for _, r := range there {
			if r.ID == "id8" && r.Data != `{"b":[1,2.5],"a":1}` {
				t.Errorf("it is spelled %s", r.Data)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// A column that another lane widens between the look at it and the append makes no row wrong: the batch comes again (I4).
func TestAColumnIsWidenedMeanwhile(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t, returned)
	config := connectors.Config{Mode: connectors.Append, Layout: connectors.LayoutColumns}
	d, other := open(t, bigquery.Definition(), direct(s), warehouse, config), open(t, bigquery.Definition(), direct(s), warehouse, config)
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 2)) // a is an integer
	wider := connectortest.Batch(connectors.Append, "orders", 0, 1)
	wider.Epoch, wider.Lane, wider.Records[0].Data = "another", "another", []byte(`{"a":1.5}`)
	var begun atomic.Bool
	s.Befall(func(call string) fault.Fault {
		if call == "AppendRows" && begun.CompareAndSwap(false, true) {
			if r, err := other.Write(context.Background(), wider); err != nil || r.Outcomes[0] != connectors.Durable {
				t.Errorf("the other lane: %v %v", r, err)
			}
		}
		return fault.None
	})
	b := connectortest.Batch(connectors.Append, "orders", 2, 3)
	r, err := d.Write(t.Context(), b)
	connectortest.WantError(t, err, connectors.Unavailable, `column "a"`)
	if slices.Contains(r.Outcomes, connectors.Rejected) {
		t.Errorf("a row is rejected: %v", r.Reasons)
	}
	connectortest.Write(t, d, b)
	if n := len(columnRows(t, s)); n != 6 {
		t.Errorf("%d rows", n)
	}
	for _, d := range []connectors.Destination{d, other} {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Keys that differ by their case alone are two, whatever the dataset's collation; a table with another one is refused, before it takes one for
// the other.
func TestCollation(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t, returned)
	s.Collate("und:ci")
	d := opened(t, s, connectors.ModeUpsert)
	for i, key := range []string{"abc", "ABC"} {
		b := connectortest.Batch(connectors.ModeUpsert, "orders", i, 1)
		b.Records[0].Key = key
		connectortest.Write(t, d, b)
	}
	if there := rows(t, s); len(there) != 2 {
		t.Errorf("%d rows: %v", len(there), there)
	}
	s.CollateColumn(t, "orders", "_key", "und:ci")
	_, err := opened(t, s, connectors.ModeUpsert).Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "orders", 2, 1))
	connectortest.WantError(t, err, connectors.Invalid, "column _key has the collation und:ci")
}

// A field whose name begins as those that BigQuery has for itself gets a column all the same.
func TestReservedNames(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t, returned)
	d := open(t, bigquery.Definition(), direct(s), warehouse, connectors.Config{Mode: connectors.Append, Layout: connectors.LayoutColumns})
	b := connectortest.Batch(connectors.Append, "orders", 0, 2)
	b.Records[0].Data = []byte(`{"_PARTITIONTIME":1,"_partitiontime":2,"_TABLE_SUFFIX":3,"_FILE_NAME":4,"__root__":5,"_change_type":6,"_row_timestamp_":7,"_colidentifier_1":8}`)
	connectortest.Write(t, d, b)
	var values int
	for _, r := range columnRows(t, s) {
		values += strings.Count(r.Data, ":")
	}
	if values != 9 {
		t.Errorf("%d values of 9 are there", values)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// What stands in the way of a table is said, and left as it is.
func TestTablesThatDoNotFit(t *testing.T) {
	t.Parallel()
	s := bigquerytest.New(t, returned)
	fixed := warehouse
	fixed.Table = "orders"
	opens := func(settings bigquery.Settings, mode connectors.Mode) connectors.Destination {
		d := open(t, bigquery.Definition(), direct(s), settings, connectors.Config{Mode: mode})
		t.Cleanup(func() { _ = d.Close() })
		return d
	}
	d := opens(fixed, connectors.Append)
	if err := d.(connectors.Checker).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 2))
	if err := d.(connectors.Checker).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	other := opens(fixed, connectors.ModeUpsert)
	connectortest.WantError(t, other.(connectors.Checker).Check(t.Context()), connectors.Invalid, "mode append")
	_, err := other.Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "orders", 0, 2))
	connectortest.WantError(t, err, connectors.Invalid, "mode append")
	fixed.JSON = "json"
	connectortest.WantError(t, opens(fixed, connectors.Append).(connectors.Checker).Check(t.Context()), connectors.Invalid, "set json to string")
}

// A table that is dropped while a lane writes to it is made again, and the records go on.
func TestDroppedTable(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		s := bigquerytest.New(t, returned)
		d := opened(t, s, mode)
		connectortest.Write(t, d, connectortest.Batch(mode, "orders", 0, 2))
		s.Drop(t, "orders")
		b := connectortest.Batch(mode, "orders", 2, 2)
		if _, err := d.Write(t.Context(), b); err == nil {
			t.Fatal("written to a table that is not there")
		} else if e := connectors.AsError("", err); e.Kind.Stops() {
			t.Fatalf("the lane stops: %v", err)
		}
		connectortest.UntilDurable(t, d, b)
		wantOnce(t, s, "after the drop", b)
	}
}
