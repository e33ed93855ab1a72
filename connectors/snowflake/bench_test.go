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
	"tributary/connectors/connectortest"
	"tributary/connectors/snowflake/snowflaketest"
)

// BenchmarkWrite measures Write beside its floor: the same records by the same driver into the same test server, by PUT, COPY INTO a table of lines and INSERT from
// there, with nothing that would notice a second time.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", benchFloor)
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode), func(b *testing.B) {
			d := opened(b, snowflaketest.New(b, &returned), mode)
			connectortest.BenchDestination(b, d, mode, 20_000)
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
	connectortest.BenchProducts(b, connectors.Append, 20_000, func(batch connectors.Batch) {
		records := batch.Records
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
		exec(gosnowflake.WithFilePutStream(context.Background(), bytes.NewReader(packed.Bytes())), fmt.Sprintf("PUT 'file://%d.json.gz' '@~/floor' AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=GZIP OVERWRITE=TRUE", batch.First))
		exec(context.Background(), "COPY INTO "+schema+fmt.Sprintf(`"lines" FROM '@~/floor' FILES = ('%d.json.gz') FILE_FORMAT = (TYPE = JSON COMPRESSION = GZIP STRIP_OUTER_ARRAY = FALSE NULL_IF = ()) ON_ERROR = ABORT_STATEMENT FORCE = TRUE`, batch.First))
		exec(context.Background(), "INSERT INTO "+schema+`"products" (`+strings.Join(list, ", ")+") SELECT "+strings.Join(fields, ", ")+" FROM "+schema+`"lines"`)
		exec(context.Background(), "DELETE FROM "+schema+`"lines"`)
	})
}
