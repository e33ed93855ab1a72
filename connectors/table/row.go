// Package table holds what the destinations that write rows have in common: which table a record goes to, which
// record of a key wins, and the loop that makes a batch take effect once by a ledger row that moves in the
// transaction of the rows.
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

// Time is a record's time as a database can hold it; false where it is unknown or outside the years 1 to 9999.
func Time(t time.Time) (time.Time, bool) {
	if y := t.Year(); t.IsZero() || y < 1 || y > 9999 {
		return time.Time{}, false
	}
	return t, true
}

// unfit says why no database could ever hold the record; "" where nothing is wrong with it.
func unfit(r *connectors.Record, maxData int) string {
	switch {
	case r.ID == "":
		return "the record has no ID"
	case len(r.ID) > connectors.MaxIDBytes || len(r.Key) > connectors.MaxIDBytes:
		return fmt.Sprintf("the record's ID or key is longer than %d bytes", connectors.MaxIDBytes)
	case len(r.Data) > maxData:
		return fmt.Sprintf("the payload of %d bytes is larger than %d", len(r.Data), maxData)
	case !isText(r.ID) || !isText(r.Key) || !isText(r.Stream):
		return "the record's ID, key or stream is not valid UTF-8 or has a NUL byte"
	case !utf8.Valid(r.Data):
		return "the payload is not valid UTF-8"
	case bytes.IndexByte(r.Data, 0) >= 0:
		return "the payload has a NUL byte"
	}
	return ""
}

func isText(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }
