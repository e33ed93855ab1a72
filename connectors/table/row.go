package table

import (
	"bytes"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"tributary/connectors"
)

// Row is a record on its way into a table.
type Row struct {
	*connectors.Record
	// Seen is the greatest version among the records of the row's key that this one has won over, and its own.
	Seen int64
}

// Rows are the rows of one statement for one table, of which no two share a key.
type Rows struct {
	Table string
	List  []Row

	mode connectors.Mode
	at   map[identity]int
	plan *plan
}

// Columns are those that the payloads go into, beside the metadata: the one column data in layout raw.
func (r *Rows) Columns() []Column {
	columns := make([]Column, len(r.plan.filled))
	for n, i := range r.plan.filled {
		columns[n] = r.plan.found[i]
	}
	return columns
}

// Values puts the values of row i into v, which is as long as Columns. They are nil, or by the type of their column: Boolean a bool,
// Integer an int64, Decimal a string that is a JSON number, Text a string, Timestamp a time.Time, JSON a []byte of JSON that nobody writes to, Other a string.
func (r *Rows) Values(i int, v []any) { r.plan.values(r.List[i].Data, v) }

// Time is a record's time as a database can hold it; false where it is unknown or outside the years 1 to 9999.
func Time(t time.Time) (time.Time, bool) {
	if y := t.Year(); t.IsZero() || y < 1 || y > 9999 {
		return time.Time{}, false
	}
	return t, true
}

// Unfit says why the record can't ever be held; "" where nothing is wrong with it.
func Unfit(r *connectors.Record, o *Options) string {
	switch {
	case r.ID == "":
		return "the record has no ID"
	case len(r.ID) > connectors.MaxIDBytes || len(r.Key) > connectors.MaxIDBytes:
		return fmt.Sprintf("the record's ID or key is longer than %d bytes", connectors.MaxIDBytes)
	case len(r.Data) > o.Limits.Data:
		return fmt.Sprintf("the payload of %d bytes is larger than %d", len(r.Data), o.Limits.Data)
	case !isText(r.ID) || !isText(r.Key) || !isText(r.Stream):
		return "the record's ID, key or stream is not valid UTF-8 or has a NUL byte"
	case !utf8.Valid(r.Data):
		return "the payload is not valid UTF-8"
	case bytes.IndexByte(r.Data, 0) >= 0:
		return "the payload has a NUL byte"
	case o.Layout == connectors.LayoutColumns && len(r.Data) > 0:
		if err := connectors.CheckPayload("payload", r.Data); err != nil {
			return "the payload can't be taken apart: " + err.(*connectors.Error).Message
		}
	}
	if o.Refuses != nil {
		return o.Refuses(r)
	}
	return ""
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
