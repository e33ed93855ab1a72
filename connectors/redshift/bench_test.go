package redshift_test

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
	"github.com/klauspost/compress/gzip"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/redshift"
	"tributary/connectors/redshift/redshifttest"
)

// BenchmarkWrite measures Write beside its floor: the same records by the same clients into the same stand-in, by a file, a manifest and COPY into the table itself, with
// nothing that would notice a second time. How long Redshift takes it does not tell: the stand-in is PostgreSQL, whose tables grow with each batch and have no index.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", benchFloor)
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		for _, kind := range []string{"", "text"} {
			b.Run(string(mode)+kind, func(b *testing.B) {
				s := serve(b)
				d := open(b, redshift.Definition(), block(b, connection(b, s), redshift.Settings{JSON: kind}, mode))
				defer d.Close()
				connectortest.BenchDestination(b, d, mode, 50_000)
			})
		}
	}
}

func benchFloor(b *testing.B) {
	ctx := context.Background()
	s := serve(b)
	db, err := pgx.Connect(ctx, fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable&default_query_exec_mode=exec", url.UserPassword(redshifttest.User, password), s.Address, redshifttest.Database))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close(ctx)
	objects := s3.NewFromConfig(aws.Config{Region: redshifttest.Region, Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, "")},
		func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = aws.String(s.Endpoint), true })
	put := func(key string, content []byte) {
		if _, err := objects.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(redshifttest.Bucket), Key: &key, Body: bytes.NewReader(content)}); err != nil {
			b.Fatal(err)
		}
	}
	exec := func(sql string) {
		if _, err := db.Exec(ctx, sql, pgx.QueryExecModeExec); err != nil {
			b.Fatal(err)
		}
	}
	exec(`CREATE TABLE products (_installation varchar(1024), _stream varchar(1024), _id varchar(512), _key varchar(512), _op varchar(16), _version bigint,
		_occurred_at timestamptz, _received_at timestamptz, _ordinal bigint, data super)`)
	const at = "2006-01-02 15:04:05.000000+00"
	connectortest.BenchProducts(b, connectors.Append, 50_000, func(batch connectors.Batch) {
		records := batch.Records
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestSpeed)
		if err != nil {
			b.Fatal(err)
		}
		var line []byte
		for _, r := range records { // of texts that JSON quotes as Go does
			line = fmt.Appendf(line[:0], `{"_installation":"i/ada","_stream":%q,"_id":%q,"_key":%q,"_op":%q,"_version":"%d","_occurred_at":%q,"_received_at":%q,"_ordinal":"%d","data":%s}`+"\n",
				r.Stream, r.ID, r.Key, r.Op, r.Version, r.OccurredAt.UTC().Format(at), r.ReceivedAt.UTC().Format(at), r.Ordinal, r.Data)
			if _, err := w.Write(line); err != nil {
				b.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			b.Fatal(err)
		}
		file := fmt.Sprintf("floor/%d", batch.First)
		put(file, packed.Bytes())
		put(file+".manifest", fmt.Appendf(nil, `{"entries":[{"url":"s3://%s/%s","mandatory":true}]}`, redshifttest.Bucket, file))
		if _, err := db.PgConn().Exec(ctx, `COPY "products" (_installation, _stream, _id, _key, _op, _version, _occurred_at, _received_at, _ordinal, data) FROM 's3://`+redshifttest.Bucket+"/"+file+`.manifest' IAM_ROLE '`+
			redshifttest.Role+`' REGION '`+redshifttest.Region+`' MANIFEST FORMAT AS JSON 'auto' GZIP TIMEFORMAT 'auto' COMPUPDATE OFF STATUPDATE OFF`).ReadAll(); err != nil {
			b.Fatal(err)
		}
	})
}

// BenchmarkFew measures small batches, on both sides of the size where files begin.
func BenchmarkFew(b *testing.B) {
	s := serve(b)
	d := open(b, redshift.Definition(), block(b, connection(b, s), redshift.Settings{}, connectors.Append))
	defer d.Close()
	first := 0
	for _, n := range []int{1, 10, 100, 101, 500} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				batch := connectortest.Products(connectors.Append, first, n)
				first += n
				if _, err := d.Write(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
