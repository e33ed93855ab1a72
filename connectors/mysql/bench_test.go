package mysql_test

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"tributary/connectors"
	"tributary/connectors/mysql"
)

// benchBatch makes a batch of n records with payloads of 495 bytes and keys in no order.
func benchBatch(mode connectors.Mode, first, n int) connectors.Batch {
	b := batch(mode, "products", first, n)
	payload := []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	for i := range b.Records {
		r := &b.Records[i]
		r.Key = fmt.Sprintf("gid://shop/Product/%016x", uint64(r.Ordinal)*11400714819323198485)
		r.ID, r.Version, r.Data, r.OccurredAt, r.ReceivedAt = r.Key, r.Ordinal, payload, time.Unix(1793534400, 0), time.Unix(1793534401, 0)
	}
	return b
}

// BenchmarkWrite compares the destination with its floor: LOAD DATA LOCAL by hand of 5,000 rows a transaction, for an upsert through a temporary table, without a
// ledger, into a table with the natural key.
func BenchmarkWrite(b *testing.B) {
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode)+"/floor", func(b *testing.B) { benchFloor(b, mode) })
		b.Run(string(mode)+"/destination", func(b *testing.B) { benchDestination(b, mode) })
	}
}

func rate(b *testing.B, rows int) { b.ReportMetric(float64(rows)/b.Elapsed().Seconds(), "rows/s") }

func benchDestination(b *testing.B, mode connectors.Mode) {
	d := open(b, mysql.MariaDB(), connection(b, mariadb.database(b)), mysql.Settings{}, mode)
	defer d.Close()
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch := benchBatch(mode, n, 50_000)
		b.StartTimer()
		if _, err := d.Write(context.Background(), batch); err != nil {
			b.Fatal(err)
		}
		n += len(batch.Records)
	}
	rate(b, n)
}

func benchFloor(b *testing.B, mode connectors.Mode) {
	db := session(b, mariadb.database(b))
	db.SetMaxOpenConns(1)
	key := "id"
	if mode == connectors.ModeUpsert {
		key = "k"
	}
	const columns = `installation varchar(100), stream varchar(100), id varchar(200), k varchar(200), op varchar(6), version bigint, occurred_at datetime(6),
		received_at datetime(6), ordinal bigint, data longtext`
	const how = ") DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
	exec(b, db, "CREATE TABLE t (row_id bigint AUTO_INCREMENT PRIMARY KEY, "+columns+", UNIQUE KEY ("+key+", installation, stream)"+how, "CREATE TEMPORARY TABLE s ("+columns+how)
	const names = "installation, stream, id, k, op, version, occurred_at, received_at, ordinal, data"
	into := "t"
	if mode == connectors.ModeUpsert {
		into = "s"
	}
	var records []connectors.Record
	driver.RegisterReaderHandler(b.Name(), func() io.Reader {
		r, w := io.Pipe()
		go func() {
			c := csv.NewWriter(w)
			for _, r := range records {
				_ = c.Write([]string{"i/ada", r.Stream, r.ID, r.Key, string(r.Op), strconv.FormatInt(r.Version, 10), r.OccurredAt.UTC().Format(time.DateTime), r.ReceivedAt.UTC().Format(time.DateTime),
					strconv.FormatInt(r.Ordinal, 10), string(r.Data)})
			}
			c.Flush()
			w.Close()
		}()
		return r
	})
	defer driver.DeregisterReaderHandler(b.Name())
	n := 0
	for b.Loop() {
		b.StopTimer()
		all := benchBatch(mode, n, 50_000).Records
		b.StartTimer()
		for len(all) > 0 {
			records, all = all[:5_000], all[5_000:]
			statements := []string{"START TRANSACTION", "LOAD DATA LOCAL INFILE 'Reader::" + b.Name() + "' INTO TABLE " + into + ` FIELDS TERMINATED BY ',' OPTIONALLY ENCLOSED BY '"' ESCAPED BY '' (` + names + ")"}
			if mode == connectors.ModeUpsert {
				statements = append(statements, "INSERT INTO t ("+names+") SELECT "+names+` FROM s ON DUPLICATE KEY UPDATE id = IF(VALUES(version) >= t.version, VALUES(id), t.id),
					op = IF(VALUES(version) >= t.version, VALUES(op), t.op), occurred_at = IF(VALUES(version) >= t.version, VALUES(occurred_at), t.occurred_at),
					received_at = IF(VALUES(version) >= t.version, VALUES(received_at), t.received_at), ordinal = IF(VALUES(version) >= t.version, VALUES(ordinal), t.ordinal),
					data = IF(VALUES(version) >= t.version, VALUES(data), t.data), version = GREATEST(VALUES(version), t.version)`, "DELETE FROM s")
			}
			exec(b, db, append(statements, "COMMIT")...)
			n += len(records)
		}
	}
	rate(b, n)
}
