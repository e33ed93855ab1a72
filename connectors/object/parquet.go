package object

import (
	"fmt"
	"io"
	"maps"
	"math/big"
	"strings"
	"time"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/compress"

	"tributary/connectors/table"
)

const (
	// groupBytes of payload make a row group, which is in memory, compressed, until it is written.
	groupBytes = 64 << 20
	// rowsAtOnce are handed to the writer together.
	rowsAtOnce = 256
	// maxColumns bounds a file in layout columns: a writer has a buffer for each column.
	maxColumns = 1_000
	// precision and scale of the decimals, which are what BigQuery, DuckDB, Spark and Trino hold.
	precision, scale = 38, 18
	// dataColumn holds the payload in layout raw.
	dataColumn = "data"
)

// Encodings are those that every reader knows, also old ones.
var (
	textNode    = parquet.Encoded(parquet.String(), &parquet.Plain)
	fewNode     = parquet.Encoded(parquet.String(), &parquet.RLEDictionary) // text of which there is little
	integerNode = parquet.Encoded(parquet.Int(64), &parquet.Plain)
	instantNode = parquet.Optional(parquet.Encoded(parquet.Timestamp(parquet.Microsecond), &parquet.Plain))
	// A payload is a byte array that is known to be JSON, byte for byte (I8).
	jsonNode = parquet.Optional(parquet.Encoded(parquet.JSON(), &parquet.Plain))
)

var metadataNodes = parquet.Group{
	"_id": textNode, "_installation": fewNode, "_key": textNode, "_occurred_at": instantNode, "_op": fewNode,
	"_ordinal": integerNode, "_received_at": instantNode, "_stream": fewNode, "_version": integerNode,
}

// node is how a column of a payload's field is kept.
func node(t table.Type) parquet.Node {
	switch t {
	case table.Boolean:
		return parquet.Optional(parquet.Leaf(parquet.BooleanType))
	case table.Integer:
		return parquet.Optional(integerNode)
	case table.Decimal:
		return parquet.Optional(parquet.Encoded(parquet.Decimal(scale, precision, parquet.FixedLenByteArrayType(16)), &parquet.Plain))
	case table.Text:
		return parquet.Optional(textNode)
	}
	return jsonNode
}

// dialect is what columns of a file can hold. Most readers take names for the same that differ in case only, and the names of partitions
// for columns.
func (p path) dialect() table.Dialect {
	return table.Dialect{
		Integer: precision - scale, Fraction: scale, Name: 128, Columns: maxColumns, Fold: strings.ToLower,
		Reserved: func(name string) bool { return p.keys[strings.ToLower(name)] },
	}
}

// parquetWriter writes rows of one schema.
type parquetWriter struct {
	file    *parquet.GenericWriter[any]
	at      map[string]int // index of a column, by its name
	columns []table.Column // of the payloads; nil in layout raw
	rows    []parquet.Row
	values  []parquet.Value // of rows
	payload []any           // values of one payload
}

func writeParquet(w io.Writer, p *portion, codec compress.Codec) error {
	out := newParquetWriter(w, p, codec)
	group := 0
	for n, i := range p.records {
		out.add(p, i)
		group += len(p.batch.Records[i].Data)
		if len(out.rows) < rowsAtOnce && n < len(p.records)-1 {
			continue
		}
		if _, err := out.file.WriteRows(out.rows); err != nil {
			return fmt.Errorf("parquet: %w", err)
		}
		out.rows, out.values = out.rows[:0], out.values[:0]
		if group >= groupBytes {
			if err := out.file.Flush(); err != nil {
				return fmt.Errorf("parquet: %w", err)
			}
			group = 0
		}
	}
	return out.file.Close()
}

func newParquetWriter(w io.Writer, p *portion, codec compress.Codec) *parquetWriter {
	nodes := maps.Clone(metadataNodes)
	out := &parquetWriter{at: make(map[string]int)}
	if p.columns == nil {
		nodes[dataColumn] = jsonNode
	} else {
		out.columns = p.columns.Columns()
		out.payload = make([]any, len(out.columns))
		for _, c := range out.columns {
			nodes[c.Name] = node(c.Type)
		}
	}
	schema := parquet.NewSchema("record", nodes)
	for i, name := range schema.Columns() {
		out.at[name[0]] = i
	}
	// The least and the greatest payload tell nobody anything, and would stand in the file's foot.
	out.file = parquet.NewGenericWriter[any](w, schema, parquet.Compression(codec), parquet.DataPageVersion(1),
		parquet.CreatedBy("tributary", "1", ""), parquet.SkipPageBounds(dataColumn))
	out.rows = make([]parquet.Row, 0, rowsAtOnce)
	out.values = make([]parquet.Value, 0, rowsAtOnce*len(out.at))
	return out
}

// add makes the row of record i.
func (out *parquetWriter) add(p *portion, i int) {
	r := &p.batch.Records[i]
	out.values = out.values[:len(out.values)+len(out.at)]
	row := parquet.Row(out.values[len(out.values)-len(out.at):])
	out.rows = append(out.rows, row)
	set := func(column string, v parquet.Value, defined int) {
		i := out.at[column]
		row[i] = v.Level(0, defined, i)
	}
	text := func(column, s string) { set(column, parquet.ByteArrayValue([]byte(s)), 0) }
	instant := func(column string, t time.Time) {
		if t, ok := table.Time(t.UTC()); ok {
			set(column, parquet.Int64Value(t.UnixMicro()), 1)
		} else {
			set(column, parquet.NullValue(), 0)
		}
	}
	text("_installation", p.batch.Installation)
	text("_stream", r.Stream)
	text("_id", r.ID)
	text("_key", r.Key)
	text("_op", string(r.Op))
	set("_version", parquet.Int64Value(r.Version), 0)
	instant("_occurred_at", r.OccurredAt)
	instant("_received_at", r.ReceivedAt)
	set("_ordinal", parquet.Int64Value(r.Ordinal), 0)
	switch {
	case p.columns != nil:
		p.columns.Values(r.Data, out.payload)
		for i, c := range out.columns {
			v := valueOf(c.Type, out.payload[i])
			defined := 1
			if v.IsNull() {
				defined = 0
			}
			set(c.Name, v, defined)
		}
	case len(r.Data) == 0:
		set(dataColumn, parquet.NullValue(), 0)
	default:
		set(dataColumn, parquet.ByteArrayValue(r.Data), 1)
	}
}

// valueOf is a value for a column of a type.
func valueOf(t table.Type, v any) parquet.Value {
	switch v := v.(type) {
	case bool:
		return parquet.BooleanValue(v)
	case int64:
		return parquet.Int64Value(v)
	case string:
		if t == table.Decimal {
			return parquet.FixedLenByteArrayValue(decimal(v))
		}
		return parquet.ByteArrayValue([]byte(v))
	case []byte:
		return parquet.ByteArrayValue(v)
	}
	return parquet.NullValue()
}

var shift = new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(scale), nil))

// decimal is a JSON number with at most scale digits behind the point as a big-endian integer of 16 bytes, in two's complement.
func decimal(number string) []byte {
	r, _ := new(big.Rat).SetString(number) // it fits
	n := r.Mul(r, shift).Num()
	if n.Sign() < 0 {
		n = new(big.Int).Add(n, new(big.Int).Lsh(big.NewInt(1), 128))
	}
	return n.FillBytes(make([]byte, 16))
}
