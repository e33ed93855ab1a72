package table

import "tributary/connectors"

// File is the columns of a file in layout columns. What a table remembers from statement to statement, a file finds anew: it has a column for each field
// of its own payloads, of the least type that holds all the field's values in it.
type File struct{ plan *plan }

// NewFile makes a File without columns.
func NewFile(d Dialect) *File { return &File{newPlan("", fileOptions(d), nil, nil)} }

func fileOptions(d Dialect) *Options { return &Options{Dialect: d, Schema: connectors.Evolve} }

// Take makes room for a valid payload. False: the file would need more columns than Dialect.Columns, and is as it was before but for
// the types of its columns, which may be wider.
func (f *File) Take(data []byte) bool {
	_, problem := f.plan.look(data)
	return problem == ""
}

// Columns are those of the payloads that were taken. None is taken after it.
func (f *File) Columns() []Column {
	f.plan = newPlan("", fileOptions(*f.plan.dialect), nil, f.plan.columns)
	return f.plan.columns
}

// Values puts the values of a payload that was taken into v, which is as long as Columns; see Rows.Values. Call Columns first.
func (f *File) Values(data []byte, v []any) { f.plan.values(data, v) }
