package snowflake

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/klauspost/compress/gzip"
	"github.com/snowflakedb/gosnowflake/v2"

	"tributary/connectors"
	"tributary/connectors/table"
)

// file is the lines of a transaction, compressed as they are made: the only copy of the batch. A line is an object of a token t, which says which statement takes it, and the values c0,
// c1, ... that are not null.
type file struct {
	packed chunks
	gzip   *gzip.Writer
	sum    hash.Hash
	line   []byte
	lines  int64
	lost   bool   // it is not known what became of it
	path   string // in the bucket of an external stage
}

func newFile() *file {
	f := &file{sum: sha256.New()}
	f.gzip, _ = gzip.NewWriterLevel(&f.packed, gzip.BestSpeed) // a level that there is
	return f
}

// add ends a line and writes it.
func (f *file) add() {
	f.line = append(f.line, '}', '\n')
	_, _ = f.gzip.Write(f.line) // into memory
	_, _ = f.sum.Write(f.line)
	f.lines++
}

func (f *file) begin(token string) {
	f.line = append(f.line[:0], `{"t":"`...)
	f.line = append(append(f.line, token...), '"')
}

func (f *file) name(i int) {
	f.line = append(f.line, `,"c`...)
	f.line = strconv.AppendInt(f.line, int64(i), 10)
	f.line = append(f.line, `":`...)
}

func (f *file) text(i int, s string) {
	f.name(i)
	f.line = appendText(f.line, s)
}

func (f *file) integer(i int, n int64) {
	f.name(i)
	f.line = strconv.AppendInt(f.line, n, 10)
}

func (f *file) time(i int, t time.Time) {
	if t, ok := table.Time(t.UTC()); ok {
		f.name(i)
		f.line = t.AppendFormat(f.line, `"2006-01-02T15:04:05.000000000+00:00"`)
	}
}

// rows writes the lines of rows, in the order of newMerge's fields.
func (f *file) rows(m merge, b *connectors.Batch, rows *table.Rows) error {
	columns := rows.Columns()
	values := make([]any, len(columns))
	for i, r := range rows.List {
		f.begin(m.token)
		for n, text := range [...]string{r.Stream, r.ID, r.Key, string(r.Op)} {
			f.text(n, text)
		}
		f.integer(4, r.Version)
		f.time(5, r.OccurredAt)
		f.time(6, r.ReceivedAt)
		f.integer(7, r.Ordinal)
		first := 8
		if b.Mode == connectors.ModeUpsert {
			f.integer(8, r.Seen)
			first = 9
		}
		rows.Values(i, values)
		for n, v := range values {
			f.value(first+n, columns[n].Type, v)
		}
		if len(f.line) > maxLine {
			return &table.RowError{Reason: fmt.Sprintf("the record is larger than Snowflake takes: its line has %d bytes, at most %d", len(f.line), maxLine)}
		}
		f.add()
	}
	return nil
}

func (f *file) value(i int, kind table.Type, v any) {
	switch v := v.(type) {
	case bool:
		f.name(i)
		f.line = strconv.AppendBool(f.line, v)
	case int64:
		f.integer(i, v)
	case string:
		if kind == table.Decimal {
			v, _ = expand(v, variantDigits) // it fits the column
		}
		f.text(i, v)
	case []byte:
		f.name(i)
		f.line = appendText(f.line, v)
	case time.Time:
		f.time(i, v)
	}
}

// reasons writes the lines of rejected records.
func (f *file) reasons(m merge, rejected map[int64]string) {
	for ordinal, reason := range rejected {
		f.begin(m.token)
		f.integer(0, ordinal)
		f.text(1, reason)
		f.add()
	}
}

// appendText appends a JSON string of UTF-8.
func appendText[T string | []byte](to []byte, s T) []byte {
	const hexadecimal = "0123456789abcdef"
	to = append(to, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' || c >= utf8.RuneSelf {
			continue
		}
		to = append(to, s[from:i]...)
		from = i + 1
		if c < 0x20 {
			to = append(to, `\u00`...)
			to = append(to, hexadecimal[c>>4], hexadecimal[c&15])
		} else {
			to = append(to, '\\', c)
		}
	}
	to = append(to, s[from:]...)
	return append(to, '"')
}

// load puts the file on the stage and copies it. Its name says where it belongs and what it holds, so that nothing that comes late can change it: a file of a name is always the
// same. All of its lines must arrive: the driver may upload less when it tries again by itself.
func (t *transaction) load(ctx context.Context, b *connectors.Batch) error {
	if err := t.file.gzip.Close(); err != nil {
		return err
	}
	name := fmt.Sprintf("%d-%d-%s.json.gz", b.First, b.Next, hex.EncodeToString(t.file.sum.Sum(nil)[:12]))
	at := "@" + t.place.stage + "/" + t.place.folder(b)
	if t.pool.bucket != nil {
		t.file.path = t.place.folder(b) + "/" + name
		if err := t.pool.bucket.put(ctx, t.file.path, t.file.packed.reader()); err != nil {
			return err
		}
	} else if err := t.put(ctx, name, at); err != nil {
		return err
	}
	rows, err := t.conn.QueryContext(ctx, "COPY INTO "+t.place.own(stage)+" FROM "+literal(at)+" FILES = ("+literal(name)+
		") FILE_FORMAT = (TYPE = JSON COMPRESSION = GZIP STRIP_OUTER_ARRAY = FALSE NULL_IF = ()) ON_ERROR = ABORT_STATEMENT FORCE = TRUE")
	if err != nil {
		return &copyError{err}
	}
	var loaded int64
	err = each(rows, func(row map[string]sql.NullString) {
		n, _ := strconv.ParseInt(row["rows_loaded"].String, 10, 64) // an answer without a number has loaded nothing
		loaded += n
	})
	if err != nil {
		return err
	}
	if loaded != t.file.lines {
		return connectors.Errorf(connectors.Unavailable, "copy rows", "%d of %d lines arrived on the stage", loaded, t.file.lines)
	}
	return nil
}

// put uploads the file to an internal stage.
func (t *transaction) put(ctx context.Context, name, at string) error {
	ctx = gosnowflake.WithFilePutStream(ctx, io.Reader(t.file.packed.reader()))
	rows, err := t.conn.QueryContext(ctx, "PUT "+literal("file://"+name)+" "+literal(at)+" AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=GZIP OVERWRITE=TRUE")
	if err == nil {
		err = each(rows, func(map[string]sql.NullString) {})
	}
	if err != nil {
		t.file.lost = true // the driver may still be at it
		return &uploadError{err}
	}
	return nil
}

// uploadError says that a file did not reach the stage.
type uploadError struct{ error }

func (e *uploadError) Unwrap() error { return e.error }

// clean removes the lane's files, those of earlier attempts too. It costs nothing but space where it fails; the next one does it.
func (t *transaction) clean(b *connectors.Batch) {
	if t.file.lines == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanTime)
	defer cancel()
	if t.pool.bucket != nil {
		if err := t.pool.bucket.remove(ctx, t.place.folder(b)); err != nil {
			t.pool.log.Warn("snowflake: files of a load stay in the bucket of the stage", "stage", t.place.stage, "error", t.failed("delete files", err))
		}
		return
	}
	rows, err := t.conn.QueryContext(ctx, "REMOVE "+literal("@"+t.place.stage+"/"+t.place.folder(b)+"/"))
	if err == nil {
		err = each(rows, func(map[string]sql.NullString) {})
	}
	if err != nil {
		discard(t.conn)
	}
}

// cleanTime bounds the removal of files.
const cleanTime = 10 * time.Second

// list counts the files in a folder of the stage.
func (s *store) list(ctx context.Context, folder string) (n int, err error) {
	rows, err := s.pool.QueryContext(ctx, "LIST "+literal("@"+s.place.stage+"/"+folder+"/"))
	if err == nil {
		err = each(rows, func(map[string]sql.NullString) { n++ })
	}
	if err != nil {
		return 0, &uploadError{err}
	}
	return n, nil
}
