package bigquery

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	rest "google.golang.org/api/bigquery/v2"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Columns that a table has here beside those that package table names: which run of the lane a row came by.
const (
	epochColumn = "_epoch"
	laneColumn  = "_lane"
	seenColumn  = "_version_seen"
)

// streams is the table in which lanes register the write streams that they use.
const streams = table.Own + "streams"

var (
	recordColumns = []column{
		{"_installation", "STRING", true}, {"_stream", "STRING", true}, {"_id", "STRING", true}, {"_key", "STRING", true},
		{"_op", "STRING", true}, {"_version", "INTEGER", true}, {"_occurred_at", "TIMESTAMP", false}, {"_received_at", "TIMESTAMP", false}, {"_ordinal", "INTEGER", true},
		{epochColumn, "STRING", true}, {laneColumn, "STRING", true},
	}
	ledgerColumns = []column{
		{"epoch", "STRING", true}, {"lane", "STRING", true}, {"next", "INTEGER", true}, {"updated_at", "TIMESTAMP", true},
	}
	rejectionColumns = []column{
		{"epoch", "STRING", true}, {"lane", "STRING", true}, {"ordinal", "INTEGER", true}, {"reason", "STRING", true}, {"updated_at", "TIMESTAMP", true},
	}
	streamColumns = []column{
		{"epoch", "STRING", true}, {"lane", "STRING", true}, {"table_name", "STRING", true}, {"number", "INTEGER", true}, {"stream", "STRING", true}, {"updated_at", "TIMESTAMP", true},
	}
	stageColumns = []column{
		{"_token", "STRING", true}, {"_staged_at", "TIMESTAMP", true},
		{"_stream", "STRING", true}, {"_id", "STRING", true}, {"_key", "STRING", true}, {"_op", "STRING", true}, {"_version", "INTEGER", true}, {seenColumn, "INTEGER", true},
		{"_occurred_at", "TIMESTAMP", false}, {"_received_at", "TIMESTAMP", false}, {"_ordinal", "INTEGER", true},
	}
)

// layout is how a table must be.
type layout struct {
	id         string
	columns    []column
	clustering []string
	partition  string // column, "" for none
	unit       string
	expires    int64 // ms after which a partition is deleted; 0: never
	mode       connectors.Mode
}

// own are the layouts of the tables that the engine keeps for itself.
func ownLayouts() []layout {
	key := []string{"epoch", "lane"}
	return []layout{
		{id: table.Ledger, columns: ledgerColumns, clustering: key},
		{id: table.Rejections, columns: rejectionColumns, clustering: key, partition: "updated_at", unit: "DAY", expires: 90 * 24 * 3600 * 1000},
		{id: streams, columns: streamColumns, clustering: key},
	}
}

// recordLayout is that of a table of records. Rows of a lane lie together, so that little is read to find out what is there; those of mode upsert
// lie by what MERGE looks for.
func (d dataset) recordLayout(id string, mode connectors.Mode, kind string) layout {
	l := layout{id: id, columns: slices.Clone(recordColumns), clustering: []string{"_installation", epochColumn, laneColumn, "_stream"}, partition: "_received_at", unit: d.partition, mode: mode}
	if mode == connectors.ModeUpsert {
		l.columns = append(l.columns, column{seenColumn, "INTEGER", true})
		l.clustering = []string{"_installation", "_stream", "_key", "_id"}
	}
	if kind == connectors.LayoutRaw {
		l.columns = append(l.columns, column{"data", d.json, false})
	}
	if d.partition == "NONE" {
		l.partition = ""
	}
	return l
}

// stageLayout is that of the staging table for rows of some columns. Its rows are forgotten after a day.
func stageLayout(values []column) layout {
	id := []string{}
	for _, c := range values {
		id = append(id, c.name, c.kind)
	}
	return layout{id: table.Own + "stage_" + digest(id...)[:16], columns: append(slices.Clone(stageColumns), values...),
		clustering: []string{"_token"}, partition: "_staged_at", unit: "HOUR", expires: 24 * 3600 * 1000}
}

func (l layout) table() *rest.Table {
	t := &rest.Table{TableReference: &rest.TableReference{TableId: l.id}, Schema: &rest.TableSchema{}, Clustering: &rest.Clustering{Fields: l.clustering}}
	// The dataset's own collation may take two keys for one: https://cloud.google.com/bigquery/docs/reference/standard-sql/collation-concepts
	t.DefaultCollation, t.ForceSendFields = "", []string{"DefaultCollation"}
	for _, c := range l.columns {
		mode := "NULLABLE"
		if c.required {
			mode = "REQUIRED"
		}
		t.Schema.Fields = append(t.Schema.Fields, &rest.TableFieldSchema{Name: c.name, Type: c.kind, Mode: mode})
	}
	if l.partition != "" {
		t.TimePartitioning = &rest.TimePartitioning{Type: l.unit, Field: l.partition, ExpirationMs: l.expires}
	}
	return t
}

// plainTypes are the names of types that the REST API has two of: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables#TableFieldSchema
var plainTypes = map[string]string{"INT64": "INTEGER", "BOOL": "BOOLEAN", "FLOAT64": "FLOAT", "STRUCT": "RECORD", "DECIMAL": "NUMERIC", "BIGDECIMAL": "BIGNUMERIC"}

// kindOf is the type of a column; one that repeats is of no type of ours.
func kindOf(f *rest.TableFieldSchema) string {
	kind := f.Type
	if plain, ok := plainTypes[kind]; ok {
		kind = plain
	}
	if f.Mode == "REPEATED" {
		kind = "ARRAY OF " + kind
	}
	return kind
}

// fits says what is wrong with a table that exists.
func (l layout) fits(t *rest.Table) error {
	kinds, collations := make(map[string]string), make(map[string]string)
	if t.Schema != nil {
		for _, f := range t.Schema.Fields {
			name := strings.ToLower(f.Name)
			kinds[name], collations[name] = kindOf(f), f.Collation
		}
	}
	var wrong []string
	for _, c := range l.columns {
		switch kind, ok := kinds[strings.ToLower(c.name)]; {
		case !ok && c.name == seenColumn && l.mode == connectors.ModeUpsert:
			return connectors.Errorf(connectors.Invalid, "table "+l.id, "it was made for mode append and can't serve mode upsert too: set another table")
		case !ok:
			wrong = append(wrong, fmt.Sprintf("column %s %s is missing", c.name, c.kind))
		case kind != c.kind && c.name == "data":
			return connectors.Errorf(connectors.Invalid, "table "+l.id, "its column data is %s: set json to %s, or another table", kind, strings.ToLower(kind))
		case kind != c.kind:
			wrong = append(wrong, fmt.Sprintf("column %s is %s instead of %s", c.name, kind, c.kind))
		case c.required && collations[c.name] != "":
			wrong = append(wrong, fmt.Sprintf("column %s has the collation %s, which takes different texts for one", c.name, collations[c.name]))
		}
	}
	if wrong != nil {
		return connectors.Errorf(connectors.Invalid, "table "+l.id, "it exists and does not fit: %s. Change it, or set another table or dataset", strings.Join(wrong, "; "))
	}
	if _, upsert := kinds[seenColumn]; upsert && l.mode == connectors.Append {
		return connectors.Errorf(connectors.Invalid, "table "+l.id, "it was made for mode upsert and can't serve mode append too: set another table")
	}
	return nil
}

// readiness names a table that is known to be there and to fit.
type readiness struct {
	dataset string
	id      string
	mode    connectors.Mode
	kind    string
}

// place is what has to be known of a dataset: where its jobs run, and when its ledger was made, so that one that was dropped and made
// again is another.
type place struct{ location, made string }

// ensure makes a table if it is missing and never drops or rewrites anything.
func (k *client) ensure(ctx context.Context, d dataset, l layout) (*rest.Table, error) {
	op := "make table " + l.id
	t, err := k.rest.Tables.Get(d.project, d.name, l.id).Context(ctx).Do()
	if isStatus(err, http.StatusNotFound) {
		made := l.table()
		made.TableReference.ProjectId, made.TableReference.DatasetId = d.project, d.name
		t, err = k.rest.Tables.Insert(d.project, d.name, made).Context(ctx).Do()
		if isStatus(err, http.StatusConflict) { // another was first
			t, err = k.rest.Tables.Get(d.project, d.name, l.id).Context(ctx).Do()
		}
	}
	if err != nil {
		return nil, k.failed(op, err)
	}
	return t, l.fits(t)
}

// prepare makes what is missing of the tables.
func (s *store) prepare(ctx context.Context, layouts ...layout) error {
	for _, l := range layouts {
		r := readiness{s.dataset.project + "." + s.dataset.name, l.id, l.mode, s.layout + s.dataset.json}
		if s.client.isReady(r) {
			continue
		}
		if _, err := s.client.ensure(ctx, s.dataset, l); err != nil {
			return err
		}
		s.client.setReady(r)
	}
	return nil
}

// locate finds the dataset and makes the engine's own tables in it.
func (k *client) locate(ctx context.Context, d dataset) (place, error) {
	name := d.project + "." + d.name
	k.mu.Lock()
	p, known := k.places[name]
	k.mu.Unlock()
	if known {
		return p, nil
	}
	found, err := k.rest.Datasets.Get(d.project, d.name).Context(ctx).Do()
	if err != nil {
		return place{}, k.failed("find dataset "+d.name, err)
	}
	p = place{location: found.Location}
	for _, l := range ownLayouts() {
		t, err := k.ensure(ctx, d, l)
		if err != nil {
			return place{}, err
		}
		p.made += fmt.Sprint(t.CreationTime, " ")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.places[name] = p
	return p, nil
}

func (k *client) isReady(r readiness) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.ready[r]
}

func (k *client) setReady(r readiness) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ready[r] = true
}

// forget makes the next write look at its tables again.
func (k *client) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.ready)
	clear(k.places)
}
