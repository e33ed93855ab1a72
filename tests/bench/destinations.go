package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
)

// written is a destination that is measured by the benchmark in its own package, which stands beside its floor: the same records loaded by
// hand with the same client into the same server, with nothing that would notice a second time.
type written struct {
	key, name string
	// pkg is the connector's folder, bench the rest of the benchmark's path, a pattern a level; floor and engine are the two to compare.
	pkg, bench, floor, engine string
	// batches are written by each, of so many records that their benchmarks say.
	batches int
}

var destinations = []written{
	{"write_postgres_append", "PostgreSQL, append", "postgres", "^append$", "append/floor", "append/destination", 2},
	{"write_postgres_upsert", "PostgreSQL, upsert", "postgres", "^upsert$", "upsert/floor", "upsert/destination", 2},
	{"write_mariadb_append", "MariaDB, append", "mysql", "^append$", "append/floor", "append/destination", 2},
	{"write_mariadb_upsert", "MariaDB, upsert", "mysql", "^upsert$", "upsert/floor", "upsert/destination", 2},
	{"write_duckdb", "DuckDB, append", "duckdb", "^(floor|append)$", "floor", "append", 4},
	{"write_bigquery", "BigQuery's stand-in, append", "bigquery", "^(floor|append)$", "floor", "append", 4},
	{"write_snowflake", "Snowflake's stand-in, append", "snowflake", "^(floor|append)$", "floor", "append", 4},
	{"write_redshift", "Redshift's stand-in, append", "redshift", "^(floor|append)$", "floor", "append", 2},
	{"write_s3", "S3's stand-in, gzip", "object", "^(floor|#00)$", "floor", "#00", 4},
	{"write_gcs", "Cloud Storage's stand-in, gzip", "object", "^gcs$", "gcs/floor", "gcs/destination", 4},
	{"write_mongodb", "MongoDB's stand-in, append", "mongodb", "^(floor|append)$", "floor", "append", 4},
	{"write_kafka", "Kafka's stand-in", "kafka", "^(floor|destination)$", "floor", "destination", 8},
	{"write_pubsub", "Pub/Sub's stand-in", "pubsub", "^unordered$", "unordered/floor", "unordered/destination", 8},
	{"write_eventbridge", "EventBridge's stand-in", "eventbridge", "^(floor|destination)$", "floor", "destination", 4},
	{"write_http", "HTTP, a request a record", "httpapi", "^(floor|destination)$", "floor", "destination", 10},
	{"write_datastream", "Data Stream, a signed request a record", "datastream", "^(floor|destination)$", "floor", "destination", 4},
}

// writes measures Write of each destination beside a load by hand.
func (b *bench) writes(ctx context.Context) error {
	for _, d := range destinations {
		b.say("  %s", d.name)
		rates, err := d.measure(ctx, b.scaled(d.batches))
		if err != nil {
			return err
		}
		floor, engine := rates[d.floor], rates[d.engine]
		if floor == 0 || engine == 0 {
			return fmt.Errorf("the benchmark of connectors/%s has no rate for %s or %s", d.pkg, d.floor, d.engine)
		}
		b.add(row{Key: d.key, Name: d.name, Unit: "records/s", Floor: floor, Engine: engine, Goal: 0.8})
	}
	return nil
}

// measure runs the benchmark and returns records a second by the name below BenchmarkWrite.
func (d written) measure(ctx context.Context, batches int) (map[string]float64, error) {
	cmd := exec.CommandContext(ctx, cmp.Or(os.Getenv("GO"), "go"), "test", "-count=1", "-run=^$", "-bench=^BenchmarkWrite$/"+d.bench,
		"-benchtime="+strconv.Itoa(batches)+"x", "./connectors/"+d.pkg)
	cmd.Env = os.Environ()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return nil, errors.Join(fmt.Errorf("the benchmark of connectors/%s: %w", d.pkg, err), errors.New(out.String()))
	}
	return rates(out.String()), nil
}

// rates reads what `go test -bench` prints, of which lines are such as "BenchmarkWrite/append/floor-2  4  9876543 ns/op  45000 rows/s". A
// benchmark that reports no records or rows a second is left out.
func rates(output string) map[string]float64 {
	found := make(map[string]float64)
	for line := range strings.Lines(output) {
		fields := strings.Fields(line)
		if len(fields) < 4 || !strings.HasPrefix(fields[0], "BenchmarkWrite/") {
			continue
		}
		name := strings.TrimPrefix(fields[0], "BenchmarkWrite/")
		if dash := strings.LastIndexByte(name, '-'); dash >= 0 { // how many processors
			name = name[:dash]
		}
		for i := 2; i+1 < len(fields); i += 2 {
			if unit := fields[i+1]; unit == "rows/s" || unit == "records/s" {
				if v, err := strconv.ParseFloat(fields[i], 64); err == nil {
					found[name] = v
				}
			}
		}
	}
	return found
}
