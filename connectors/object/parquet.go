package object

import (
	"fmt"
	"io"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"tributary/connectors/table"
)

// parquetSchema has a column for each field of a line, in the order of their names. The payload is a byte array that is known to be
// JSON, byte for byte (I8). Encodings are those that every reader knows, also old ones.
var parquetSchema = func() *parquet.Schema {
	text := parquet.Encoded(parquet.String(), &parquet.Plain)
	few := parquet.Encoded(parquet.String(), &parquet.RLEDictionary)
	number := parquet.Encoded(parquet.Int(64), &parquet.Plain)
	instant := parquet.Optional(parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.Plain))
	return parquet.NewSchema("record", parquet.Group{
		"_id":           text,
		"_installation": few,
		"_key":          text,
		"_occurred_at":  instant,
		"_op":           few,
		"_ordinal":      number,
		"_received_at":  instant,
		"_stream":       few,
		"_version":      number,
		"data":          parquet.Optional(parquet.Encoded(parquet.JSON(), &parquet.Plain)),
	})
}()

const (
	// groupBytes of payload make a row group, which is in memory, compressed, until it is written.
	groupBytes = 64 << 20
	// rowsAtOnce are handed to the writer together.
	rowsAtOnce = 256
)

func writeParquet(w io.Writer, p *portion, codec compress.Codec) error {
	// The least and the greatest payload tell nobody anything, and would stand in the file's foot.
	file := parquet.NewWriter(w, parquetSchema, parquet.Compression(codec), parquet.DataPageVersion(1),
		parquet.CreatedBy("tributary", "1", ""), parquet.SkipPageBounds("data"))
	columns := len(parquetSchema.Columns())
	rows := make([]parquet.Row, 0, rowsAtOnce)
	values := make([]parquet.Value, 0, rowsAtOnce*columns)
	group := 0
	for n, i := range p.records {
		r := &p.batch.Records[i]
		data := parquet.NullValue().Level(0, 0, 9)
		if len(r.Data) > 0 {
			data = parquet.ByteArrayValue(r.Data).Level(0, 1, 9)
		}
		values = append(values,
			parquet.ByteArrayValue([]byte(r.ID)).Level(0, 0, 0),
			parquet.ByteArrayValue([]byte(p.batch.Installation)).Level(0, 0, 1),
			parquet.ByteArrayValue([]byte(r.Key)).Level(0, 0, 2),
			micros(r.OccurredAt, 3),
			parquet.ByteArrayValue([]byte(r.Op)).Level(0, 0, 4),
			parquet.Int64Value(r.Ordinal).Level(0, 0, 5),
			micros(r.ReceivedAt, 6),
			parquet.ByteArrayValue([]byte(r.Stream)).Level(0, 0, 7),
			parquet.Int64Value(r.Version).Level(0, 0, 8),
			data,
		)
		rows = append(rows, values[len(values)-columns:])
		group += len(r.Data)
		if len(rows) < rowsAtOnce && n < len(p.records)-1 {
			continue
		}
		if _, err := file.WriteRows(rows); err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
		rows, values = rows[:0], values[:0]
		if group >= groupBytes {
			if err := file.Flush(); err != nil {
				return fmt.Errorf("parquet: %w", err)
			}
			group = 0
		}
	}
	return file.Close()
}

// micros is a time in the column, null where a file can't hold it.
func micros(t time.Time, column int) parquet.Value {
	t, ok := table.Time(t.UTC())
	if !ok {
		return parquet.NullValue().Level(0, 0, column)
	}
	return parquet.Int64Value(t.UnixMicro()).Level(0, 1, column)
}
