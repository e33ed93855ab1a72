package object

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/outbound"
)

// S3Connection is whose bucket it is and how to get in: a key, the worker's own credentials, and a role that either may assume.
type S3Connection struct {
	Bucket          string `json:"bucket,omitempty" jsonschema:"description=Bucket to write to where the block names none"`
	Region          string `json:"region,omitempty" jsonschema:"description=Region of the bucket such as eu-central-1; with an endpoint us-east-1 by default"`
	AccessKeyID     string `json:"access_key_id,omitempty" jsonschema:"description=ID of an access key"`
	SecretAccessKey string `json:"secret_access_key,omitempty" jsonschema:"description=Secret of the access key,format=password"`
	SessionToken    string `json:"session_token,omitempty" jsonschema:"description=Token of a temporary access key,format=password"`
	Ambient         bool   `json:"ambient,omitempty" jsonschema:"description=Use the credentials that the worker finds in its own environment instead of an access key; for connections of the operator"`
	RoleARN         string `json:"role_arn,omitempty" jsonschema:"description=Role to assume"`
	ExternalID      string `json:"external_id,omitempty" jsonschema:"description=External ID that the role's trust policy asks for"`
	Endpoint        string `json:"endpoint,omitempty" jsonschema:"description=https URL of a store that speaks S3's protocol; without it Amazon's,format=uri"`
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
			if connection.Ambient && !c.Operator {
				return nil, errAmbient
			}
			if err := connection.check(c.Env); err != nil {
				return nil, err
			}
			return open(c, connection.Bucket, func() (account, func() error, error) {
				return accounts.Acquire(string(c.Connection), func() (account, error) { return newS3(connection, c.Env) })
			})
		},
	}
}

var regionRule = regexp.MustCompile(`^[a-z0-9-]{1,40}$`)

func (c S3Connection) check(env connectors.Env) error {
	invalid := func(message string) error {
		return &connectors.Error{Kind: connectors.Invalid, Op: "connection", Message: message}
	}
	switch {
	case (c.AccessKeyID == "") != (c.SecretAccessKey == ""):
		return invalid("access_key_id and secret_access_key belong together")
	case c.Ambient == (c.AccessKeyID != ""):
		return invalid("give access_key_id and secret_access_key, or ambient: true for the worker's own credentials")
	case c.SessionToken != "" && c.Ambient:
		return invalid("session_token belongs to an access key")
	case c.ExternalID != "" && c.RoleARN == "":
		return invalid("external_id belongs to role_arn")
	case c.Endpoint != "" && (c.Ambient || c.RoleARN != ""):
		return invalid("the worker's credentials and roles are for Amazon only: give an endpoint an access key of its own")
	case c.Endpoint == "" && c.Region == "":
		return invalid("region is missing: give the bucket's, such as eu-central-1")
	case c.Region != "" && !regionRule.MatchString(c.Region):
		return invalid("region: want a name such as eu-central-1")
	}
	return checkEndpoint(c.Endpoint, env)
}

// checkEndpoint refuses an endpoint that must not be called (I14) or has more to it than a host.
func checkEndpoint(endpoint string, env connectors.Env) error {
	if endpoint == "" {
		return nil
	}
	if err := outbound.CheckURL(endpoint, env.Networks); err != nil {
		return connectors.Errorf(connectors.Invalid, "connection", "endpoint: %s", connectors.AsError("", err).Message)
	}
	if u, err := url.Parse(endpoint); err != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		return connectors.Errorf(connectors.Invalid, "connection", "endpoint: want a host without a path, such as https://storage.example.com")
	}
	return nil
}

// client calls the vendor's hosts as the operator says, and a host that a user named never inside the operator's network (I14).
func client(endpoint string, env connectors.Env) *http.Client {
	if endpoint == "" && env.Transport != nil {
		return &http.Client{
			Transport: env.Transport, Timeout: requestTime,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	// A listing has up to 1,000 names of 1 KiB, escaped.
	return outbound.Client(outbound.Options{Allowed: env.Networks, Timeout: requestTime, Concurrency: 2 * uploads, MaxBody: 16 << 20})
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
	cfg := aws.Config{Region: cmp.Or(c.Region, "us-east-1")}
	if c.Ambient {
		// Where the worker's credentials come from, such as a metadata service, is not called by our client.
		var err error
		if cfg, err = config.LoadDefaultConfig(context.Background(), config.WithRegion(c.Region)); err != nil {
			return nil, connectors.Errorf(connectors.Invalid, "connection", "the worker's own AWS configuration can't be read")
		}
		cfg.Credentials = explained{cfg.Credentials, "the worker finds no credentials of its own that AWS accepts"}
		cfg.BaseEndpoint = nil
	} else {
		cfg.Credentials = credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken)
	}
	cfg.HTTPClient = a.http
	cfg.Retryer = func() aws.Retryer { return aws.NopRetryer{} } // the engine comes again
	if c.RoleARN != "" {
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "tributary"
			if c.ExternalID != "" {
				o.ExternalID = aws.String(c.ExternalID)
			}
		})
		cfg.Credentials = aws.NewCredentialsCache(explained{role, "the role can't be assumed: its trust policy must allow the caller sts:AssumeRole, with the external ID of the connection"})
	}
	if c.Endpoint != "" {
		// Not every store knows the checksums that Amazon's client adds unasked.
		cfg.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		cfg.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	}
	a.options.RequestChecksumCalculation = cfg.RequestChecksumCalculation
	a.client = s3.NewFromConfig(cfg, func(o *s3.Options) {
		if c.Endpoint != "" {
			o.BaseEndpoint = aws.String(c.Endpoint)
			o.UsePathStyle = true
		}
	})
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

// explained says, where credentials can't be had, which ones.
type explained struct {
	aws.CredentialsProvider
	message string
}

// credentialError is that no credentials could be had to sign a request with.
type credentialError struct {
	message string
	err     error
}

func (e *credentialError) Error() string { return e.message }
func (e *credentialError) Unwrap() error { return e.err }

// Retrieve gets the credentials.
func (e explained) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := e.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		err = &credentialError{e.message, err}
	}
	return c, err
}
