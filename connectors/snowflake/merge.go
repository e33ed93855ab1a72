package snowflake

import (
	"fmt"
	"slices"
	"strings"

	"tributary/connectors"
	"tributary/connectors/table"
)

// merge takes the rows of one table, or the reasons of rejected records, from the stage.
type merge struct {
	into      string
	token     string // of its lines
	statement string
	values    []any
}

// staged are the fields of the lines that have a token, in a transaction; each field a column by the name of c and its number.
func (t *transaction) staged(fields []string) string {
	return "(SELECT " + strings.Join(fields, ", ") + " FROM " + t.place.own(stage) + " WHERE " + t.field("t", "VARCHAR") + " = ? AND TO_VARCHAR(CURRENT_TRANSACTION()) = ?)"
}

// field is a value of a line as a type. In lines everything but booleans and integers is text, so that nothing is rounded on the way:
// https://docs.snowflake.com/en/user-guide/querying-semistructured#traversing-semi-structured-data
func (t *transaction) field(name, kind string) string {
	return t.place.column("line") + `:"` + name + `"::` + kind
}

// newMerge keeps the record that package table says (I5), and in mode append the one that is there.
func (t *transaction) newMerge(b *connectors.Batch, rows *table.Rows) merge {
	p := t.place
	m := merge{into: p.own(rows.Table), token: token()}
	own := slices.Clone(recordColumns[1:]) // without _installation
	if b.Mode == connectors.ModeUpsert {
		own = append(own, seenColumn)
	}
	var names, fields []string
	for i, c := range own {
		names = append(names, p.column(c.name))
		fields = append(fields, t.field(fmt.Sprint("c", i), c.kind)+" AS "+p.column(c.name))
	}
	set := slices.Clone(names)
	for i, c := range rows.Columns() {
		if t.layout == connectors.LayoutRaw { // a column of ours
			c.Name = p.named(c.Name)
		}
		names, set = append(names, quote(c.Name)), append(set, quote(c.Name))
		fields = append(fields, t.value(fmt.Sprint("c", len(own)+i), c)+" AS "+quote(c.Name))
	}
	from := make([]string, len(names))
	for i, n := range names {
		from[i] = "r." + n
	}
	installation, key, id := p.column("_installation"), p.column("_key"), p.column("_id")
	on := "t." + installation + " = ? AND t." + p.column("_stream") + " = r." + p.column("_stream")
	matched := ""
	if b.Mode == connectors.Append {
		on += " AND t." + id + " = r." + id
	} else {
		on += " AND t." + key + " = r." + key + " AND (t." + key + " <> '' OR t." + id + " = r." + id + ")"
		version, seen := p.column("_version"), p.column(seenColumn.name)
		var assign []string
		for _, n := range set {
			switch n {
			case seen:
				assign = append(assign, n+" = GREATEST(t."+n+", r."+n+")")
			case p.column("_stream"), key:
			default:
				assign = append(assign, n+" = r."+n)
			}
		}
		matched = " WHEN MATCHED AND (r." + version + " = 0 OR r." + version + " > t." + seen + " OR (r." + version + " = t." + seen + " AND t." + version + " = t." + seen + ")) THEN UPDATE SET " + strings.Join(assign, ", ")
	}
	m.statement = "MERGE INTO " + m.into + " AS t USING " + t.staged(fields) + " AS r ON " + on + matched +
		" WHEN NOT MATCHED THEN INSERT (" + installation + ", " + strings.Join(names, ", ") + ") VALUES (?, " + strings.Join(from, ", ") + ")"
	m.values = []any{m.token, t.id, b.Installation, b.Installation}
	return m
}

// value is the value of a line for a column of a payload.
func (t *transaction) value(name string, c table.Column) string {
	native := c.Native
	if native == "" { // of layout raw
		native = t.place.json()
	}
	text := t.field(name, "VARCHAR")
	switch {
	case c.Type == table.JSON && base(native) == "VARIANT":
		return "PARSE_JSON(" + text + ", 'd')" // of two members of one name the last counts
	case c.Type == table.JSON || c.Type == table.Text && base(native) == "VARCHAR":
		return text
	case c.Type == table.Boolean || c.Type == table.Integer:
		return t.field(name, native)
	case c.Type == table.Timestamp:
		return text + "::TIMESTAMP_TZ::" + native
	}
	return text + "::" + native
}

func (t *transaction) rejections(b *connectors.Batch) merge {
	p := t.place
	m := merge{into: p.own(table.Rejections), token: token()}
	fields := []string{t.field("c0", "NUMBER(38,0)") + " AS " + p.column("ordinal"), t.field("c1", "VARCHAR") + " AS " + p.column("reason")}
	m.statement = "INSERT INTO " + m.into + " (" + p.columns([]string{"epoch", "lane", "ordinal", "reason"}) + ") SELECT ?, ?, r." + p.column("ordinal") + ", r." + p.column("reason") + " FROM " + t.staged(fields) + " AS r"
	m.values = []any{b.Epoch, b.Lane, m.token, t.id}
	return m
}
