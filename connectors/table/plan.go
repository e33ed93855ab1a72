package table

import (
	"fmt"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// plan is how the payloads of a statement go into the columns of a table: of the table as it is and, while the statement is gathered, as it would have to be.
type plan struct {
	table   string
	dialect *Dialect
	rule    connectors.SchemaRule
	kept    map[string]bool // columns that were found not to be widened
	found   []Column        // what the table has
	columns []Column        // found, with the changes
	fields  map[string]place
	names   map[string]int // index of a column by its folded name
	filled  []int          // indexes of the columns that values go into
	at      []int          // by index of a column, its place among filled
}

// place is where a field's values go: indexes of columns, -1 for none.
type place struct{ main, side int }

// wholePayload stands for a field where the payload is none. No field has a NUL.
const wholePayload = "\x00"

func newPlan(table string, o *Options, kept map[string]bool, found []Column) *plan {
	p := &plan{
		table: table, dialect: &o.Dialect, rule: o.Schema, kept: kept, found: found, columns: append([]Column(nil), found...),
		fields: make(map[string]place, len(found)), names: make(map[string]int, len(found)), at: make([]int, len(found)),
	}
	for i, c := range found {
		p.names[p.dialect.fold(c.Name)] = i
		p.assign(i)
		if c.Part != Unused {
			p.at[i] = len(p.filled)
			p.filled = append(p.filled, i)
		}
	}
	return p
}

// rawPlan is that of layout raw: the payload is the only value.
func rawPlan(table string) *plan {
	return &plan{table: table, found: []Column{{Name: dataColumn, Type: JSON}}, filled: []int{0}}
}

// assign gives a field the column i.
func (p *plan) assign(i int) {
	c := p.columns[i]
	field := c.Field
	if c.Part == Whole {
		field = wholePayload
	}
	to, known := p.fields[field]
	if !known {
		to = place{-1, -1}
	}
	switch c.Part {
	case Main, Whole:
		to.main = i
	case Side:
		to.side = i
	case Unused:
		return
	}
	p.fields[field] = to
}

// look makes sure that the table, with the changes, takes a payload. It returns how many values the rule leaves out of it, or what speaks
// against the record. Neither quotes a value.
func (p *plan) look(data []byte) (discarded int, problem string) {
	if p.dialect == nil {
		return 0, ""
	}
	before := len(p.columns)
	p.each(data, func(field string, v value) bool {
		misfit, full := p.accept(field, v)
		switch {
		case misfit == "":
		case p.rule == connectors.DiscardValue:
			discarded++
		default:
			problem = misfit
		}
		if full != "" {
			problem = full
		}
		return problem == ""
	})
	if problem != "" {
		p.forgo(before)
	}
	return discarded, problem
}

// forgo takes back the columns that were planned for a record that is not to be written.
func (p *plan) forgo(before int) {
	for _, c := range p.columns[before:] {
		delete(p.names, p.dialect.fold(c.Name))
		switch c.Part {
		case Main:
			delete(p.fields, c.Field)
		case Whole:
			delete(p.fields, wholePayload)
		case Side:
			to := p.fields[c.Field]
			to.side = -1
			p.fields[c.Field] = to
		}
	}
	p.columns = p.columns[:before]
}

// accept finds or plans the columns of a value. It returns what is against the rule, or that there is no room left.
func (p *plan) accept(field string, v value) (misfit, full string) {
	to, known := p.fields[field]
	if !known {
		if v.kind == None {
			return "", ""
		}
		if to, misfit, full = p.claim(field, v); misfit != "" || full != "" {
			return misfit, full
		}
	}
	if to.side >= 0 || v.fits(p.columns[to.main].Type) {
		return "", ""
	}
	c := &p.columns[to.main]
	if p.rule != connectors.Evolve {
		return fmt.Sprintf("field %s is %s; column %q of table %q is %s", shown(field), v.kind, c.Name, p.table, c.Type), ""
	}
	wider := Widen(c.Type, v.kind)
	if c.Made && !p.kept[c.Name] && (to.main >= len(p.found) || p.dialect.Widens == nil || p.dialect.Widens(p.found[to.main].Type, wider)) {
		c.Type = wider
		return "", ""
	}
	_, full = p.add(Column{Type: JSON, Part: Side, Field: field}, p.dialect.names(field+"_json"))
	return "", full
}

// claim gives a field that has no column one that nothing fills yet, or a new one.
func (p *plan) claim(field string, v value) (to place, misfit, full string) {
	c := Column{Type: v.kind, Part: Main, Field: field}
	names := []string{wholeColumn}
	if field == wholePayload {
		c.Part, c.Field = Whole, ""
	} else {
		names = p.dialect.names(field)
	}
	for _, name := range names {
		i, taken := p.names[p.dialect.fold(name)]
		if taken && p.columns[i].Part == Unused && p.columns[i].Type != Closed {
			p.columns[i].Part, p.columns[i].Field = c.Part, c.Field
			p.assign(i)
			return p.fields[field], "", ""
		}
		if !taken {
			break
		}
	}
	if p.rule != connectors.Evolve {
		return to, fmt.Sprintf("field %s has no column in table %q", shown(field), p.table), ""
	}
	_, full = p.add(c, names)
	return p.fields[field], "", full
}

// add plans a new column by the first of the names that is free.
func (p *plan) add(c Column, names []string) (at int, full string) {
	if len(p.columns)+len(metadata) > p.dialect.Columns {
		return 0, fmt.Sprintf("table %q has %d columns, and field %s needs one more: it can have %d", p.table, len(p.columns), shown(c.Field), p.dialect.Columns)
	}
	for _, name := range names {
		folded := p.dialect.fold(name)
		if _, taken := p.names[folded]; taken {
			continue
		}
		c.Name, c.Made = name, true
		p.names[folded] = len(p.columns)
		p.columns = append(p.columns, c)
		p.assign(len(p.columns) - 1)
		return len(p.columns) - 1, ""
	}
	return 0, fmt.Sprintf("table %q has a column %q already, which field %s can't use", p.table, names[len(names)-1], shown(c.Field))
}

func shown(field string) string {
	if field == wholePayload {
		return "none, the payload being no object,"
	}
	return fmt.Sprintf("%q", connectors.Clip(field, 80))
}

// changes are the steps from the columns that were found to those that are needed.
func (p *plan) changes() []Change {
	var changes []Change
	for i, c := range p.columns {
		switch {
		case i >= len(p.found):
			changes = append(changes, Change{Op: AddColumn, Column: c})
		case c.Type != p.found[i].Type:
			changes = append(changes, Change{Op: WidenColumn, Column: c, From: p.found[i].Type})
		case c.Part != p.found[i].Part:
			changes = append(changes, Change{Op: AdoptColumn, Column: c})
		}
	}
	return changes
}

// each calls f with the values at the top of a payload until it returns false; with the whole where that is no object.
func (p *plan) each(data []byte, f func(field string, v value) bool) {
	if len(data) == 0 {
		return
	}
	payload := gjson.ParseBytes(data)
	if !payload.IsObject() {
		v := value{JSON, payload}
		if payload.Type == gjson.Null {
			v.kind = None
		}
		f(wholePayload, v)
		return
	}
	payload.ForEach(func(key, r gjson.Result) bool { return f(fieldOf(key), p.dialect.valueOf(r)) })
}

// fieldOf is how a field is known: by its name; as it is spelled where that is no text; cut where it is too long for a table to remember it.
func fieldOf(key gjson.Result) string {
	field := key.Str
	if !IsPlain(key.Raw) {
		field = key.Raw[1 : len(key.Raw)-1]
	}
	if len(field) > connectors.MaxIDBytes {
		return withHash(field, field, connectors.MaxIDBytes)
	}
	return field
}

// values puts the values of a payload into v, in the order of the columns that are filled. Of a name that stands twice the last counts.
func (p *plan) values(data []byte, v []any) {
	if p.dialect == nil {
		if v[0] = nil; len(data) > 0 {
			v[0] = data
		}
		return
	}
	clear(v)
	p.each(data, func(field string, value value) bool {
		to, known := p.fields[field]
		if !known {
			return true
		}
		if to.main >= 0 {
			v[p.at[to.main]] = nil
		}
		if to.side >= 0 {
			v[p.at[to.side]] = nil
		}
		switch {
		case to.main >= 0 && value.fits(p.columns[to.main].Type):
			v[p.at[to.main]] = value.as(p.columns[to.main].Type)
		case to.side >= 0:
			v[p.at[to.side]] = value.as(JSON)
		}
		return true
	})
}
