package object

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"

	"tributary/connectors"
	"tributary/connectors/object/objecttest"
)

func openColumns(t *testing.T, s *objecttest.S3) *destination {
	t.Helper()
	d, err := S3().OpenDestination(connectors.Config{
		Settings: raw(t, Settings{Format: "parquet"}), Connection: raw(t, s3Connection(s)), Layout: connectors.LayoutColumns, Schema: connectors.Evolve, Env: loopback,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d.(*destination)
}

// readColumns reads a file's rows as text by column, without its nulls.
func readColumns(t *testing.T, content []byte) (schema map[string]string, rows []map[string]string) {
	t.Helper()
	f, err := parquet.OpenFile(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	schema = make(map[string]string)
	fields := f.Schema().Fields()
	for _, c := range fields {
		schema[c.Name()] = c.Type().String()
	}
	r := parquet.NewReader(f)
	defer r.Close()
	buffer := make([]parquet.Row, 100)
	for {
		n, err := r.ReadRows(buffer)
		for _, row := range buffer[:n] {
			values := make(map[string]string)
			for _, v := range row {
				name := fields[v.Column()].Name()
				switch {
				case v.IsNull():
				case strings.HasPrefix(schema[name], "DECIMAL"):
					unscaled := new(big.Int).SetBytes(v.ByteArray())
					if v.ByteArray()[0] >= 0x80 {
						unscaled.Sub(unscaled, new(big.Int).Lsh(big.NewInt(1), 128))
					}
					values[name] = new(big.Rat).Quo(new(big.Rat).SetInt(unscaled), shift).RatString()
				default:
					values[name] = v.String()
				}
			}
			rows = append(rows, values)
		}
		if errors.Is(err, io.EOF) {
			return schema, rows
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestColumns proves which columns a file has in layout columns, and that no value is lost in them.
func TestColumns(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	payloads := []string{
		`{"whole":9223372036854775807,"money":12345678901234567890.123456789012345678,"yes":true,"text":"é","object":{"b" : 1},"mixed":1,"none":null}`,
		`{"whole":-1,"money":-0.000000000000000001,"yes":false,"text":"","mixed":"x","huge":1e400}`,
		`{"money":-99999999999999999999.999999999999999999,"Text":"another","date":"2026","_id":"mine","half":"\ud800"}`,
		`[1, 2]`,
		``,
	}
	b := batchOf(0, repeat("orders", len(payloads))...)
	for i, p := range payloads {
		b.Records[i].Data = []byte(p)
	}
	b.Records[4].Op = connectors.Delete
	write(t, openColumns(t, s), b)
	objects := s.Objects(t)
	if len(objects) != 1 {
		t.Fatalf("%d objects", len(objects))
	}
	for _, content := range objects {
		schema, rows := readColumns(t, content)
		byField := func(prefix string) (name string) {
			for c := range schema {
				if strings.HasPrefix(c, prefix+"_") && len(c) == len(prefix)+9 {
					return c
				}
			}
			t.Fatalf("no column for the field %q in %v", prefix, schema)
			return ""
		}
		text2, date, id := byField("Text"), byField("date"), byField("_id")
		for name, want := range map[string]string{
			"whole": "INT(64,true)", "money": "DECIMAL(38,18)", "yes": "BOOLEAN", "text": "STRING", "object": "JSON", "mixed": "JSON", "huge": "JSON", "half": "JSON", "_data": "JSON",
			text2: "STRING", date: "STRING", id: "STRING", "_id": "STRING", "_received_at": "TIMESTAMP(isAdjustedToUTC=true,unit=MICROS)",
		} {
			if !strings.HasPrefix(schema[name], want) {
				t.Errorf("column %s is %q, want %s", name, schema[name], want)
			}
		}
		if len(schema) != 9+12 {
			t.Errorf("%d columns: %v", len(schema), schema)
		}
		for i, want := range []map[string]string{
			{"whole": "9223372036854775807", "money": "6172839450617283945061728394506172839/500000000000000000", "yes": "true", "text": "é", "object": `{"b" : 1}`, "mixed": "1"},
			{"whole": "-1", "money": "-1/1000000000000000000", "yes": "false", "text": "", "mixed": `"x"`, "huge": "1e400"},
			{"money": "-99999999999999999999999999999999999999/1000000000000000000", text2: "another", date: "2026", id: "mine", "half": `"\ud800"`},
			{"_data": "[1, 2]"},
			{},
		} {
			for name := range rows[i] {
				if metadataNodes[name] != nil {
					delete(rows[i], name)
				}
			}
			if fmt.Sprint(rows[i]) != fmt.Sprint(want) {
				t.Errorf("row %d is %v, want %v", i, rows[i], want)
			}
		}
	}
}

// TestTooManyColumns proves that a file ends before it has too many columns, at the same place whichever part of the batch is tried, and that only a
// record that no file has room for is rejected, each time.
func TestTooManyColumns(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	fields := func(name string, n int) []byte {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `,"%s%d":%d`, name, i, i)
		}
		return []byte("{" + b.String()[1:] + "}")
	}
	b := batchOf(0, repeat("orders", 6)...)
	for i, data := range [][]byte{fields("a", 600), fields("a", 600), fields("b", 600), fields("c", 2*maxColumns), fields("b", 600), fields("d", 600)} {
		b.Records[i].Data = data
	}
	for _, attempt := range []connectors.Batch{part(b, 0, 5), b, part(b, 2, 6), part(b, 4, 6)} {
		r, err := openColumns(t, s).Write(t.Context(), attempt)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range r.Outcomes {
			if rejected := attempt.Records[i].Ordinal == 3; rejected != (o == connectors.Rejected) || !rejected && o != connectors.Durable || rejected && !strings.Contains(r.Reasons[i], "more fields") {
				t.Errorf("record %d: outcome %d, %q", attempt.Records[i].Ordinal, o, r.Reasons[i])
			}
		}
	}
	got := make(map[string]int)
	for name, content := range s.Objects(t) {
		_, rows := readColumns(t, content)
		for _, row := range rows {
			got[name[len(name)-len("0000.parquet"):]+" "+row["_ordinal"]]++
		}
	}
	if want := map[string]int{"0000.parquet 0": 1, "0000.parquet 1": 1, "0002.parquet 2": 1, "0002.parquet 4": 1, "0005.parquet 5": 1}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("there are %v", got)
	}
}
