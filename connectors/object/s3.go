package object

import (
	"cmp"
	"context"
	"net/http"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/lifetime"
	"tributary/connectors/outbound"
)

// S3Connection is whose bucket it is and how to get in.
type S3Connection struct {
	Bucket string `json:"bucket,omitempty" jsonschema:"description=Bucket to write to where the block names none"`
	Region string `json:"region,omitempty" jsonschema:"description=Region of the bucket such as eu-central-1; with an endpoint us-east-1 by default"`
	amazon.Credentials
	Endpoint string `json:"endpoint,omitempty" jsonschema:"description=https URL of a store that speaks S3's protocol; without it Amazon's,format=uri"`
}

// S3 describes the connector for Amazon S3 and what speaks its protocol. Destinations opened from one Definition with the same connection
// share connections.
func S3() connectors.Definition {
	var accounts lifetime.Shared[account]
	return connectors.Definition{
		Name:       "s3",
		Title:      "Amazon S3",
		Doc:        "Writes records as files of JSON lines or Parquet into a bucket of Amazon S3 or of a store that speaks its protocol, in folders by stream and date. Every change is a record; the payload is kept byte for byte.",
		Settings:   Settings{},
		Connection: S3Connection{},
		Modes:      []connectors.Mode{connectors.Append},
		Layouts:    layouts,
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			connection, err := connectors.Decode[S3Connection](c.Connection)
			if err != nil {
				return nil, err
			}
			if err := connection.check(c.Operator, c.Env); err != nil {
				return nil, err
			}
			return open(c, connection.Bucket, func() (account, func() error, error) {
				return accounts.Acquire(string(c.Connection), func() (account, error) { return newS3(connection, c.Env) })
			})
		},
	}
}

// regionRule lets pass what other stores call a region.
var regionRule = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

func (c S3Connection) check(operator bool, env connectors.Env) error {
	if err := c.Credentials.Check(operator); err != nil {
		return err
	}
	message := ""
	switch {
	case c.Endpoint != "" && (c.Ambient || c.RoleARN != ""):
		message = "the worker's credentials and roles are for Amazon only: give an endpoint an access key of its own"
	case c.Endpoint == "" && c.Region == "":
		message = "region is missing: give the bucket's, such as eu-central-1"
	case c.Region != "" && !regionRule.MatchString(c.Region):
		message = "region: want a name such as eu-central-1"
	default:
		return outbound.CheckEndpoint(c.Endpoint, env.Networks)
	}
	return &connectors.Error{Kind: connectors.Invalid, Op: "connection", Message: message}
}

// client calls the vendor, or an endpoint. A listing has up to 1,000 names of 1 KiB, escaped.
func client(endpoint string, env connectors.Env) *http.Client {
	return amazon.Client(endpoint, env, outbound.Options{Timeout: requestTime, Concurrency: 2 * uploads, MaxBody: 16 << 20})
}

type s3Account struct {
	http    *http.Client
	client  *s3.Client
	uploads *transfermanager.Client
	options s3blob.Options
}

var _ account = (*s3Account)(nil)

func newS3(c S3Connection, env connectors.Env) (account, error) {
	a := &s3Account{http: client(c.Endpoint, env)}
	cfg, err := amazon.Config(c.Credentials, cmp.Or(c.Region, "us-east-1"), c.Endpoint, a.http)
	if err != nil {
		return nil, err
	}
	a.options.RequestChecksumCalculation = cfg.RequestChecksumCalculation
	a.client = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = c.Endpoint != "" })
	a.uploads = transfermanager.New(a.client, func(o *transfermanager.Options) {
		o.RequestChecksumCalculation = cfg.RequestChecksumCalculation
		o.PartSizeBytes, o.MultipartUploadThreshold, o.Concurrency = partBytes, partBytes, 2
		// The parts of an upload that was given up are deleted even where its context has ended.
		o.FailTimeout = 5 * time.Second
	})
	return a, nil
}

func (a *s3Account) open(bucket string) (*blob.Bucket, error) {
	return s3blob.OpenBucket(context.Background(), a.client, bucket, &a.options)
}

func (a *s3Account) listAfter(key string) func(func(any) bool) error {
	return func(as func(any) bool) error {
		var in *s3.ListObjectsV2Input
		if as(&in) {
			in.StartAfter = aws.String(key)
		}
		return nil
	}
}

func (a *s3Account) writing(refused bool) func(func(any) bool) error {
	return func(as func(any) bool) error {
		var uploads *transfermanager.Client
		if as(&uploads) {
			*uploads = *a.uploads
		}
		var in *transfermanager.UploadObjectInput
		if refused && as(&in) {
			in.IfMatch = aws.String(`"00000000000000000000000000000000"`)
		}
		return nil
	}
}

func (a *s3Account) Close() error {
	a.http.CloseIdleConnections()
	return nil
}
