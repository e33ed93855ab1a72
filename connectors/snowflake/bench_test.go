package snowflake_test

import (
	"bytes"
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/snowflakedb/gosnowflake/v2"

	"tributary/connectors"
	"tributary/connectors/snowflake/snowflaketest"
)

// benchBatch makes a batch of 20,000 records with payloads of 495 bytes and keys in no order.
func benchBatch(mode connectors.Mode, first int) connectors.Batch {
	b := batch(mode, "products", first, 20_000)
	payload := []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	for i := range b.Records {
		r := &b.Records[i]
		r.Key = fmt.Sprintf("gid://shop/Product/%016x", uint64(r.Ordinal)*11400714819323198485)
		r.ID, r.Version, r.Data, r.OccurredAt, r.ReceivedAt = r.Key, r.Ordinal, payload, time.Unix(1793534400, 0), time.Unix(1793534401, 0)
	}
	return b
}

// BenchmarkWrite measures Write beside its floor: the same records by the same driver into the same test server, by PUT, COPY INTO a table of lines and INSERT from
// there, with nothing that would notice a second time.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", benchFloor)
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode), func(b *testing.B) {
			d := opened(b, snowflaketest.New(b, &returned), mode)
			n := 0
			for b.Loop() {
				b.StopTimer()
				batch := benchBatch(mode, n)
				b.StartTimer()
				if _, err := d.Write(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
				n += len(batch.Records)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

func benchFloor(b *testing.B) {
	s := snowflaketest.New(b, &returned)
	at, err := url.Parse(s.URL)
	if err != nil {
		b.Fatal(err)
	}
	port, err := strconv.Atoi(at.Port())
	if err != nil {
		b.Fatal(err)
	}
	db := sql.OpenDB(gosnowflake.NewConnector(gosnowflake.SnowflakeDriver{}, gosnowflake.Config{
		Account: snowflaketest.Account, User: snowflaketest.User, Password: snowflaketest.Password, Warehouse: snowflaketest.Warehouse,
		Protocol: "http", Host: at.Hostname(), Port: port, DisableOCSPChecks: true,
	}))
	defer db.Close()
	db.SetMaxOpenConns(1) // the temporary table is the session's
	exec := func(ctx context.Context, statement string) {
		rows, err := db.QueryContext(ctx, statement)
		if err != nil {
			b.Fatal(err)
		}
		for rows.Next() {
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil {
			b.Fatal(err)
		}
	}
	const schema = `"ANALYTICS"."CRM".`
	names := []string{"_installation", "_stream", "_id", "_key", "_op", "_version", "_occurred_at", "_received_at", "_ordinal", "data"}
	kinds := map[string]string{"_version": "NUMBER(38,0)", "_ordinal": "NUMBER(38,0)", "_occurred_at": "TIMESTAMP_TZ", "_received_at": "TIMESTAMP_TZ"}
	var columns, fields, list []string
	for _, name := range names {
		kind := cmp.Or(kinds[name], "VARCHAR")
		columns, list = append(columns, fmt.Sprintf("%q %s", name, kind)), append(list, strconv.Quote(name))
		fields = append(fields, fmt.Sprintf(`"line":%q::%s`, name, kind))
	}
	exec(context.Background(), "CREATE TEMPORARY TABLE IF NOT EXISTS "+schema+`"lines" ("line" VARIANT)`)
	exec(context.Background(), "CREATE TABLE IF NOT EXISTS "+schema+`"products" (`+strings.Join(columns, ", ")+")")
	n := 0
	for b.Loop() {
		b.StopTimer()
		records := benchBatch(connectors.Append, n).Records
		b.StartTimer()
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
		if err != nil {
			b.Fatal(err)
		}
		var line []byte
		for _, r := range records { // of texts that JSON quotes as Go does
			line = fmt.Appendf(line[:0], `{"_installation":"i/ada","_stream":%q,"_id":%q,"_key":%q,"_op":%q,"_version":%d,"_occurred_at":%q,"_received_at":%q,"_ordinal":%d,"data":%q}`+"\n",
				r.Stream, r.ID, r.Key, r.Op, r.Version, r.OccurredAt.UTC().Format(time.RFC3339Nano), r.ReceivedAt.UTC().Format(time.RFC3339Nano), r.Ordinal, r.Data)
			if _, err := w.Write(line); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		exec(gosnowflake.WithFilePutStream(context.Background(), bytes.NewReader(packed.Bytes())), fmt.Sprintf("PUT 'file://%d.json.gz' '@~/floor' AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=GZIP OVERWRITE=TRUE", n))
		exec(context.Background(), "COPY INTO "+schema+fmt.Sprintf(`"lines" FROM '@~/floor' FILES = ('%d.json.gz') FILE_FORMAT = (TYPE = JSON COMPRESSION = GZIP STRIP_OUTER_ARRAY = FALSE NULL_IF = ()) ON_ERROR = ABORT_STATEMENT FORCE = TRUE`, n))
		exec(context.Background(), "INSERT INTO "+schema+`"products" (`+strings.Join(list, ", ")+") SELECT "+strings.Join(fields, ", ")+" FROM "+schema+`"lines"`)
		exec(context.Background(), "DELETE FROM "+schema+`"lines"`)
		n += len(records)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "rows/s")
}
