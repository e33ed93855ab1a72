package object

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"cloud.google.com/go/storage"
	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/klauspost/compress/gzip"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"

	"tributary/connectors"
	"tributary/connectors/object/objecttest"
)

// benchBatch makes a batch of 50,000 records with payloads of 495 bytes and keys in no order.
func benchBatch(first int) connectors.Batch {
	b := batchOf(int64(first), repeat("products", 50_000)...)
	for i := range b.Records {
		r := &b.Records[i]
		r.Key = fmt.Sprintf("gid://shop/Product/%016x", uint64(r.Ordinal)*11400714819323198485)
		r.ID, r.Version, r.OccurredAt = r.Key, r.Ordinal, received
		r.Data = fmt.Appendf(nil, `{"id": %q, "p": "%s"}`, r.Key, strings.Repeat("abcdefgh", 54))
	}
	return b
}

// BenchmarkWrite compares the destination with its floor: the same lines compressed and put by hand, with nothing that would notice a second time,
// checks a payload or finds its folder.
func BenchmarkWrite(b *testing.B) {
	b.Run("floor", benchS3Floor)
	for _, s := range []Settings{{}, {Compression: "zstd"}, {Compression: "none"}, {Format: "parquet"}} {
		b.Run(s.Format+s.Compression, func(b *testing.B) {
			benchDestination(b, openOn(b, S3(), s3Connection(objecttest.NewS3(b, s3Returned)), s))
		})
	}
	b.Run("gcs/floor", benchGCSFloor)
	b.Run("gcs/destination", func(b *testing.B) {
		benchDestination(b, openOn(b, GCS(), gcsConnection(objecttest.NewGCS(b, nil, gcsReturned)), Settings{}))
	})
}

func benchDestination(b *testing.B, d *destination) {
	defer d.Close()
	benchLoop(b, func(batch *connectors.Batch) error {
		_, err := d.Write(context.Background(), *batch)
		return err
	})
}

// benchLoop gives load batches, which it makes while the clock stands.
func benchLoop(b *testing.B, load func(*connectors.Batch) error) {
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch := benchBatch(n)
		b.StartTimer()
		if err := load(&batch); err != nil {
			b.Fatal(err)
		}
		n += len(batch.Records)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}

// gzipped are a batch's lines.
func gzipped(batch *connectors.Batch) (*bytes.Reader, error) {
	var out bytes.Buffer
	z := gzip.NewWriter(&out)
	if err := writeLines(z, whole(batch)); err != nil {
		return nil, err
	}
	err := z.Close()
	return bytes.NewReader(out.Bytes()), err
}

func benchS3Floor(b *testing.B) {
	server := objecttest.NewS3(b, s3Returned)
	client := s3.NewFromConfig(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""), RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	}, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = aws.String(server.URL), true })
	benchLoop(b, func(batch *connectors.Batch) error {
		body, err := gzipped(batch)
		if err != nil {
			return err
		}
		_, err = client.PutObject(context.Background(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(fmt.Sprint(batch.First)), Body: body})
		return err
	})
}

func benchGCSFloor(b *testing.B) {
	server := objecttest.NewGCS(b, nil, gcsReturned)
	key, err := google.JWTConfigFromJSON([]byte(gcsConnection(server).ServiceAccountKey), storage.ScopeReadWrite)
	if err != nil {
		b.Fatal(err)
	}
	authorized := key.Client(context.Background())
	defer authorized.CloseIdleConnections()
	client, err := storage.NewClient(context.Background(), option.WithHTTPClient(authorized), option.WithEndpoint(server.URL+"/storage/v1/"))
	if err != nil {
		b.Fatal(err)
	}
	defer client.Close()
	benchLoop(b, func(batch *connectors.Batch) error {
		body, err := gzipped(batch)
		if err != nil {
			return err
		}
		w := client.Bucket(bucket).Object(fmt.Sprint(batch.First)).NewWriter(context.Background())
		w.ChunkSize = 0 // in one request, without another copy
		if _, err := body.WriteTo(w); err != nil {
			return err
		}
		return w.Close()
	})
}
