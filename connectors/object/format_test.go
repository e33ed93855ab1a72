package object

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/parquet-go/parquet-go"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/object/objecttest"
)

// whole is a portion of all records of a batch.
func whole(b *connectors.Batch) *portion {
	p := &portion{batch: b}
	for i := range b.Records {
		p.records = append(p.records, i)
	}
	return p
}

// TestLines proves what a line looks like, byte for byte.
func TestLines(t *testing.T) {
	t.Parallel()
	b := batchOf(7, repeat("orders", 4)...)
	r := b.Records
	r[0].OccurredAt, r[0].Version, r[0].Data = time.Date(2026, 11, 22, 1, 2, 3, 4_999, time.FixedZone("", 3600)), math.MinInt64, []byte(`{"a" : 1.0}`)
	r[1].Op, r[1].Data, r[1].ReceivedAt = connectors.Delete, nil, time.Time{}
	r[2].Data, r[2].ID = []byte("{\r\n\t\"a\": \"\\n\"\n}"), "\"\\\u2028<\x01"
	r[3].Data = []byte(" 1")
	var out bytes.Buffer
	if err := writeLines(&out, whole(&b)); err != nil {
		t.Fatal(err)
	}
	const installation, at = `{"_installation":"shop/ada","_stream":"orders",`, `"_received_at":"2026-11-22T23:59:00.000000Z",`
	want := installation + `"_id":"event-7","_key":"7","_op":"upsert","_version":-9223372036854775808,"_occurred_at":"2026-11-22T00:02:03.000004Z",` + at + `"_ordinal":7,"data":{"a" : 1.0}}` + "\n" +
		installation + `"_id":"event-8","_key":"8","_op":"delete","_version":0,"_occurred_at":null,"_received_at":null,"_ordinal":8}` + "\n" +
		installation + `"_id":"\"\\\u2028\u003c\u0001","_key":"9","_op":"upsert","_version":0,"_occurred_at":null,` + at + `"_ordinal":9,"data":{  ` + "\t" + `"a": "\n" },"data_raw":"{\r\n\t\"a\": \"\\n\"\n}"}` + "\n" +
		installation + `"_id":"event-10","_key":"10","_op":"upsert","_version":0,"_occurred_at":null,` + at + `"_ordinal":10,"data": 1,"data_raw":" 1"}` + "\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	if string(r[2].Data) != "{\r\n\t\"a\": \"\\n\"\n}" {
		t.Error("the payload itself was changed")
	}
}

// TestParquet proves the file's schema, and that a large one has several row groups.
func TestParquet(t *testing.T) {
	t.Parallel()
	b := batchOf(0, repeat("orders", 600)...)
	payload := []byte(`"` + strings.Repeat("x", groupBytes/300) + `"`)
	for i := range b.Records {
		b.Records[i].Data = payload
	}
	var out bytes.Buffer
	if err := writeParquet(&out, whole(&b), &parquet.Zstd); err != nil {
		t.Fatal(err)
	}
	f, err := parquet.OpenFile(bytes.NewReader(out.Bytes()), int64(out.Len()))
	if err != nil {
		t.Fatal(err)
	}
	const schema = `message record {
	required binary _id (STRING);
	required binary _installation (STRING);
	required binary _key (STRING);
	optional int64 _occurred_at (TIMESTAMP(isAdjustedToUTC=true,unit=MICROS));
	required binary _op (STRING);
	required int64 _ordinal (INT(64,true));
	optional int64 _received_at (TIMESTAMP(isAdjustedToUTC=true,unit=MICROS));
	required binary _stream (STRING);
	required int64 _version (INT(64,true));
	optional binary data (JSON);
}`
	if got := f.Schema().String(); got != schema {
		t.Errorf("the schema is\n%s", got)
	}
	if n := len(f.RowGroups()); n != 2 {
		t.Errorf("%d row groups, want 2", n)
	}
	if n := f.NumRows(); n != 600 {
		t.Errorf("%d rows, want 600", n)
	}
	if out.Len() > groupBytes/4 {
		t.Errorf("%d bytes: payloads stand somewhere uncompressed", out.Len())
	}
}

// broken is a writer whose other end went away after some bytes.
type broken struct{ left int }

func (w *broken) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

// TestEncodersPassErrorsOn proves that no format takes a file for written that could not be.
func TestEncodersPassErrorsOn(t *testing.T) {
	t.Parallel()
	b := batchOf(0, repeat("orders", 2000)...)
	for _, s := range []Settings{{}, {Compression: "zstd"}, {Compression: "none"}, {Format: "parquet"}} {
		f, err := newFormat(s.Format, s.Compression)
		if err != nil {
			t.Fatal(err)
		}
		var all bytes.Buffer
		if err := f.encode(&all, whole(&b)); err != nil {
			t.Fatal(err)
		}
		for _, left := range []int{0, all.Len() / 2, all.Len() - 1} {
			if err := f.encode(&broken{left}, whole(&b)); err == nil {
				t.Errorf("%s: no error after %d of %d bytes", f.ending, left, all.Len())
			}
		}
	}
}

// TestUnfit proves which records are refused, each for its reason, and that the reason quotes nothing.
func TestUnfit(t *testing.T) {
	t.Parallel()
	p, err := parsePath("x")
	if err != nil {
		t.Fatal(err)
	}
	d := &destination{path: p}
	for want, change := range map[string]func(r *connectors.Record){
		"no ID":                            func(r *connectors.Record) { r.ID = "" },
		"longer than 512":                  func(r *connectors.Record) { r.Key = strings.Repeat("k", 513) },
		"key or stream is not valid UTF-8": func(r *connectors.Record) { r.Stream = "\xff" },
		"body is not valid UTF-8":          func(r *connectors.Record) { r.Data = []byte("\"\xff\"") },
		"not valid JSON":                   func(r *connectors.Record) { r.Data = []byte("1 2") },
		"nests deeper":                     func(r *connectors.Record) { r.Data = []byte(strings.Repeat("[", 2000) + strings.Repeat("]", 2000)) },
	} {
		b := batchOf(0, "orders", "orders", "orders")
		change(&b.Records[1])
		r := connectors.NewResult(3)
		portions := d.portions(&b, &r)
		if r.Outcomes[1] != connectors.Rejected || !strings.Contains(r.Reasons[1], want) || len(r.Reasons) != 1 {
			t.Errorf("%s: %v %v", want, r.Outcomes, r.Reasons)
		}
		if len(portions) != 1 || fmt.Sprint(portions[0].records) != "[0 2]" {
			t.Errorf("%s: the others are not all written", want)
		}
	}
}

// TestLargeBatchIsStreamed proves that a batch is never in memory a second time, but for the few parts that are on their way.
func TestLargeBatchIsStreamed(t *testing.T) {
	const size = 96 << 20
	received := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		switch {
		case objecttest.Operation(r) == "list-type":
			fmt.Fprint(w, `<ListBucketResult></ListBucketResult>`)
		case objecttest.Operation(r) == "uploads":
			fmt.Fprint(w, `<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>`)
		case r.Method == http.MethodPut:
			received += int(n)
			w.Header().Set("ETag", `"x"`)
		default:
			fmt.Fprint(w, `<CompleteMultipartUploadResult></CompleteMultipartUploadResult>`)
		}
	}))
	defer server.Close()
	b := batchOf(0, repeat("orders", 50_000)...)
	payload := []byte(`"` + strings.Repeat("x", size/50_000-2) + `"`)
	for i := range b.Records {
		b.Records[i].Data = payload
	}
	for _, f := range []Settings{{Compression: "none"}, {}} {
		d := openOn(t, S3(), S3Connection{Bucket: bucket, Endpoint: server.URL, Credentials: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}}, f)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		received = 0
		r, err := d.Write(t.Context(), b)
		runtime.ReadMemStats(&after)
		if err != nil || r.Outcomes[49_999] != connectors.Durable {
			t.Fatalf("%v: %v", f, err)
		}
		if f.Compression == "none" && received < size {
			t.Errorf("%d bytes were received", received)
		}
		if total := after.TotalAlloc - before.TotalAlloc; total > size/2 {
			t.Errorf("%v: %d MiB were allocated for a batch of %d MiB", f, total>>20, size>>20)
		}
		d.Close()
	}
}
