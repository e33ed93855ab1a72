package mysql

import (
	"bytes"
	"strconv"
	"time"

	"tributary/connectors"
	"tributary/connectors/table"
)

// speller spells rows, as tuples of literals for INSERT or as lines for LOAD DATA. Values are texts, which the server makes into what their column is: a
// number with an exponent that is no text would be taken for a float.
type speller struct {
	batch  *connectors.Batch
	rows   *table.Rows
	scopes map[string]string // by stream
	values []any
	number []byte
}

func newSpeller(b *connectors.Batch, rows *table.Rows, columns int) *speller {
	return &speller{batch: b, rows: rows, scopes: make(map[string]string), values: make([]any, columns)}
}

func (s *speller) scope(r *connectors.Record) string {
	if s.batch.Mode == connectors.ModeUpsert && r.Key == "" {
		return scope(s.batch, r)
	}
	known := s.scopes[r.Stream]
	if known == "" {
		known = scope(s.batch, r)
		s.scopes[r.Stream] = known
	}
	return known
}

// format is how one of the two ways spells a text and null, and what is between values.
type format struct {
	escaped          string
	as               func(byte) byte // what stands behind the backslash
	open, between    string
	shut, null, mark string
}

var (
	// The session's sql_mode lets backslashes escape.
	tupleFormat = format{escaped: `\'`, as: func(b byte) byte { return b }, open: "(", between: ",", shut: ")", null: "NULL", mark: "'"}
	// https://dev.mysql.com/doc/refman/8.0/en/load-data.html#load-data-field-line-handling
	lineFormat = format{escaped: "\\\t\n", as: func(b byte) byte {
		switch b {
		case '\t':
			return 't'
		case '\n':
			return 'n'
		}
		return b
	}, between: "\t", shut: "\n", null: `\N`}
)

func (s *speller) tuple(to []byte, i int) []byte { return s.row(to, i, &tupleFormat) }

func (s *speller) line(to []byte, i int) []byte { return s.row(to, i, &lineFormat) }

// row spells the values of Insert's names.
func (s *speller) row(to []byte, i int, f *format) []byte {
	r := s.rows.List[i]
	to = append(to, f.open...)
	for n, text := range [...]string{s.scope(r.Record), s.batch.Installation, r.Stream, r.ID, r.Key, string(r.Op)} {
		if n > 0 {
			to = append(to, f.between...)
		}
		to = f.text(to, text)
	}
	to = f.integer(append(to, f.between...), r.Version)
	to = s.time(append(to, f.between...), r.OccurredAt, f)
	to = s.time(append(to, f.between...), r.ReceivedAt, f)
	to = f.integer(append(to, f.between...), r.Ordinal)
	if s.batch.Mode == connectors.ModeUpsert {
		to = f.integer(append(to, f.between...), r.Seen)
	}
	s.rows.Values(i, s.values)
	for _, v := range s.values {
		to = append(to, f.between...)
		switch v := v.(type) {
		case nil:
			to = append(to, f.null...)
		case bool:
			n := int64(0)
			if v {
				n = 1
			}
			to = f.integer(to, n)
		case int64:
			to = f.integer(to, v)
		case string:
			to = f.text(to, v)
		case []byte:
			to = append(to, f.mark...)
			to = f.escape(to, v)
			to = append(to, f.mark...)
		case time.Time:
			to = s.time(to, v, f)
		}
	}
	return append(to, f.shut...)
}

func (s *speller) time(to []byte, t time.Time, f *format) []byte {
	t, ok := table.Time(t.UTC())
	if !ok {
		return append(to, f.null...)
	}
	s.number = t.AppendFormat(s.number[:0], "2006-01-02 15:04:05.000000")
	to = append(to, f.mark...)
	to = append(to, s.number...)
	return append(to, f.mark...)
}

func (f *format) integer(to []byte, n int64) []byte {
	to = append(to, f.mark...)
	to = strconv.AppendInt(to, n, 10)
	return append(to, f.mark...)
}

func (f *format) text(to []byte, text string) []byte {
	to = append(to, f.mark...)
	to = f.escape(to, []byte(text))
	return append(to, f.mark...)
}

func (f *format) escape(to, text []byte) []byte {
	for {
		i := bytes.IndexAny(text, f.escaped)
		if i < 0 {
			return append(to, text...)
		}
		to = append(append(to, text[:i]...), '\\', f.as(text[i]))
		text = text[i+1:]
	}
}
