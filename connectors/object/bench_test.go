package object

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/klauspost/compress/gzip"

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
	b.Run("floor", benchFloor)
	for _, s := range []Settings{{}, {Compression: "zstd"}, {Compression: "none"}, {Format: "parquet"}} {
		b.Run(s.Format+s.Compression, func(b *testing.B) {
			d := openOn(b, S3(), s3Connection(objecttest.NewS3(b, s3Returned)), s)
			defer d.Close()
			n := 0
			for b.Loop() {
				b.StopTimer()
				batch := benchBatch(n)
				b.StartTimer()
				if _, err := d.Write(context.Background(), batch); err != nil {
					b.Fatal(err)
				}
				n += len(batch.Records)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func benchFloor(b *testing.B) {
	server := objecttest.NewS3(b, s3Returned)
	client := s3.NewFromConfig(aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider(keyID, secret, ""), RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
	}, func(o *s3.Options) { o.BaseEndpoint, o.UsePathStyle = aws.String(server.URL), true })
	n := 0
	for b.Loop() {
		b.StopTimer()
		batch := benchBatch(n)
		b.StartTimer()
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		if err := writeLines(z, whole(&batch)); err != nil {
			b.Fatal(err)
		}
		if err := z.Close(); err != nil {
			b.Fatal(err)
		}
		_, err := client.PutObject(context.Background(), &s3.PutObjectInput{Bucket: aws.String(bucket), Key: aws.String(fmt.Sprint(n)), Body: bytes.NewReader(out.Bytes())})
		if err != nil {
			b.Fatal(err)
		}
		n += len(batch.Records)
	}
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
