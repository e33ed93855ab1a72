package mysql_test

import (
	"encoding/csv"
	"io"
	"strconv"
	"testing"
	"time"

	driver "github.com/go-sql-driver/mysql"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
)

// BenchmarkWrite compares the destination with its floor: LOAD DATA LOCAL by hand of 5,000 rows a transaction, for an upsert through a temporary table, without a
// ledger, into a table with the natural key.
func BenchmarkWrite(b *testing.B) {
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		b.Run(string(mode)+"/floor", func(b *testing.B) { benchFloor(b, mode) })
		b.Run(string(mode)+"/destination", func(b *testing.B) { benchDestination(b, mode) })
	}
}

func benchDestination(b *testing.B, mode connectors.Mode) {
	d := open(b, mysql.MariaDB(), connection(b, mariadb.database(b)), mysql.Settings{}, mode)
	defer d.Close()
	connectortest.BenchDestination(b, d, mode, 50_000)
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
	connectortest.BenchProducts(b, mode, 50_000, func(batch connectors.Batch) {
		all := batch.Records
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
		}
	})
}
