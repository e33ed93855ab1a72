package object

import (
	"bytes"
	"cmp"
	"io"
	"strconv"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"
	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/table"
)

// format is how an object holds records.
type format struct {
	ending      string // of the name, with the dot
	contentType string
	// encode writes a portion's records. An error of w comes back as it is.
	encode func(w io.Writer, p *portion) error
}

// newFormat makes the format of the settings.
func newFormat(name, compression string) (format, error) {
	switch name {
	case "", "ndjson":
		switch cmp.Or(compression, "gzip") {
		case "none":
			return format{".ndjson", "application/x-ndjson", writeLines}, nil
		case "gzip":
			return format{".ndjson.gz", "application/gzip", func(w io.Writer, p *portion) error {
				z := gzip.NewWriter(w)
				return closed(writeLines(z, p), z)
			}}, nil
		case "zstd":
			return format{".ndjson.zst", "application/zstd", func(w io.Writer, p *portion) error {
				// Concurrency 1 starts no goroutines.
				z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedDefault))
				if err != nil {
					return err
				}
				return closed(writeLines(z, p), z)
			}}, nil
		}
	case "parquet":
		codecs := map[string]compress.Codec{"none": &parquet.Uncompressed, "gzip": &parquet.Gzip, "zstd": &parquet.Zstd}
		if codec := codecs[cmp.Or(compression, "zstd")]; codec != nil {
			return format{".parquet", "application/vnd.apache.parquet", func(w io.Writer, p *portion) error { return writeParquet(w, p, codec) }}, nil
		}
	default:
		return format{}, connectors.Errorf(connectors.Invalid, "settings", "format %q: want ndjson or parquet", name)
	}
	return format{}, connectors.Errorf(connectors.Invalid, "settings", "compression %q: want gzip, zstd or none", compression)
}

// closed finishes what c has begun, unless writing to it failed.
func closed(err error, c io.Closer) error {
	if err != nil {
		return err
	}
	return c.Close()
}

// flushBytes is how many bytes of lines are handed on at once.
const flushBytes = 64 << 10

// writeLines writes a JSON object a line.
//
// The payload stands in "data", byte for byte (I8). A line break would end the line, but in valid JSON one can only be white space between
// tokens: of such a payload, "data" has spaces in their place, which is the same value, and "data_raw" beside it the exact text as a string.
// So has a payload with blanks around it, which whoever parses the line would lose.
func writeLines(w io.Writer, p *portion) error {
	head := gjson.AppendJSONString([]byte(`{"_installation":`), p.batch.Installation)
	line := make([]byte, 0, flushBytes+flushBytes/4)
	for _, i := range p.records {
		line = appendLine(line, head, &p.batch.Records[i])
		if len(line) >= flushBytes {
			if _, err := w.Write(line); err != nil {
				return err
			}
			line = line[:0]
		}
	}
	_, err := w.Write(line)
	return err
}

func appendLine(line, head []byte, r *connectors.Record) []byte {
	line = append(line, head...)
	line = gjson.AppendJSONString(append(line, `,"_stream":`...), r.Stream)
	line = gjson.AppendJSONString(append(line, `,"_id":`...), r.ID)
	line = gjson.AppendJSONString(append(line, `,"_key":`...), r.Key)
	line = gjson.AppendJSONString(append(line, `,"_op":`...), string(r.Op))
	line = strconv.AppendInt(append(line, `,"_version":`...), r.Version, 10)
	line = appendTime(append(line, `,"_occurred_at":`...), r.OccurredAt)
	line = appendTime(append(line, `,"_received_at":`...), r.ReceivedAt)
	line = strconv.AppendInt(append(line, `,"_ordinal":`...), r.Ordinal, 10)
	if len(r.Data) > 0 {
		line = append(line, `,"data":`...)
		from := len(line)
		line = append(line, r.Data...)
		broken := bytes.IndexByte(r.Data, '\n') >= 0 || bytes.IndexByte(r.Data, '\r') >= 0
		if broken {
			for i := from; i < len(line); i++ {
				if line[i] == '\n' || line[i] == '\r' {
					line[i] = ' '
				}
			}
		}
		if broken || blank(r.Data[0]) || blank(r.Data[len(r.Data)-1]) {
			line = gjson.AppendJSONString(append(line, `,"data_raw":`...), string(r.Data))
		}
	}
	return append(line, "}\n"...)
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// appendTime appends microseconds: more digits are an error to some who read timestamps.
func appendTime(line []byte, t time.Time) []byte {
	t, ok := table.Time(t.UTC())
	if !ok {
		return append(line, "null"...)
	}
	return append(t.AppendFormat(append(line, '"'), "2006-01-02T15:04:05.000000Z"), '"')
}
