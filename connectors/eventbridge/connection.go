package eventbridge

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Connection says who puts events, and where: an access key or the worker's own credentials, and a role that either may assume.
type Connection struct {
	Region          string `json:"region" jsonschema:"required,description=Region of the bus such as eu-central-1"`
	AccessKeyID     string `json:"access_key_id,omitempty" jsonschema:"description=ID of an access key"`
	SecretAccessKey string `json:"secret_access_key,omitempty" jsonschema:"format=password,description=Secret of the access key"`
	SessionToken    string `json:"session_token,omitempty" jsonschema:"format=password,description=Token of a temporary access key"`
	Ambient         bool   `json:"ambient,omitempty" jsonschema:"description=Use the credentials that the worker finds in its own environment instead of an access key. Only for the operator's connection"`
	RoleARN         string `json:"role_arn,omitempty" jsonschema:"description=Role to assume"`
	ExternalID      string `json:"external_id,omitempty" jsonschema:"description=External ID that the role's trust policy asks for"`
	Endpoint        string `json:"endpoint,omitempty" jsonschema:"format=uri,description=https URL of what speaks the protocols of EventBridge and S3 and STS instead of AWS such as an emulator. http only in a network that the operator allows"`
}

// timeout bounds a request.
const timeout = 30 * time.Second

var regionRule = regexp.MustCompile(`^[a-z]{2,6}(-[a-z]+)+-[0-9]{1,2}$`)

// check says what is wrong without repeating any of it (I7).
func (c Connection) check(operator bool, allowed []*net.IPNet) error {
	invalid := func(op, format string, args ...any) error {
		return connectors.Errorf(connectors.Invalid, op, format, args...)
	}
	switch {
	case !regionRule.MatchString(c.Region):
		return invalid("region", "must be that of the bus, such as eu-central-1")
	case (c.AccessKeyID == "") != (c.SecretAccessKey == ""):
		return invalid("connection", "access_key_id and secret_access_key belong together")
	case c.Ambient == (c.AccessKeyID != ""):
		return invalid("connection", "give access_key_id and secret_access_key, or ambient: true for the worker's own credentials")
	case c.Ambient && !operator:
		return invalid("connection", "ambient is only for the operator's connection, in a block with hidden: true; a user's needs an access key")
	case c.SessionToken != "" && c.Ambient:
		return invalid("connection", "session_token belongs to an access key")
	case c.ExternalID != "" && c.RoleARN == "":
		return invalid("connection", "external_id belongs to role_arn")
	case c.Endpoint == "":
		return nil
	}
	if err := outbound.CheckURL(c.Endpoint, allowed); err != nil { // I14
		return err
	}
	u, _ := url.Parse(c.Endpoint) // CheckURL has parsed it
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return invalid("endpoint", "must be a scheme and a host alone, such as https://localhost.localstack.cloud:4566")
	}
	return nil
}

// account is what destinations with the same connection share.
type account struct {
	*eventbridge.Client
	objects *s3.Client
	http    *http.Client
}

// Close ends idle connections.
func (a *account) Close() error {
	a.http.CloseIdleConnections()
	return nil
}

func newAccount(c Connection, env connectors.Env) (*account, error) {
	a := &account{http: client(c.Endpoint, env)}
	cfg := aws.Config{
		Region:      c.Region,
		HTTPClient:  a.http,
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} }, // the engine comes again
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	}
	if c.Ambient {
		// What gives the machine its credentials, such as a metadata service, is called by the library's own client.
		found, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(c.Region))
		if err != nil {
			return nil, connectors.Errorf(connectors.Invalid, "connection", "the worker's own AWS configuration can't be read")
		}
		cfg.Credentials = explained{found.Credentials, "the worker finds no credentials of its own"}
	}
	if c.Endpoint != "" {
		cfg.BaseEndpoint = aws.String(c.Endpoint)
		// Not every store knows the checksums that the client adds unasked.
		cfg.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		cfg.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	}
	if c.RoleARN != "" {
		cfg.Credentials = aws.NewCredentialsCache(explained{stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "tributary"
			if c.ExternalID != "" {
				o.ExternalID = aws.String(c.ExternalID)
			}
		}), "the role can't be assumed: its trust policy must allow it to the caller, with the external ID of the connection"})
	}
	a.Client = eventbridge.NewFromConfig(cfg)
	a.objects = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = c.Endpoint != "" })
	return a, nil
}

// client calls AWS as the operator says, and a host that a user named never inside the operator's network (I14).
func client(endpoint string, env connectors.Env) *http.Client {
	if endpoint == "" && env.Transport != nil {
		return &http.Client{
			Transport: env.Transport, Timeout: timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	return outbound.Client(outbound.Options{Allowed: env.Networks, Timeout: timeout, Concurrency: maxConcurrency})
}

func (a *account) bucket(name string) (*blob.Bucket, error) {
	b, err := s3blob.OpenBucket(context.Background(), a.objects, name, nil)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "overflow", "the bucket can't be used")
	}
	return b, nil
}

// explained tells failing to get credentials from failing to use them.
type explained struct {
	aws.CredentialsProvider
	message string
}

func (e explained) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := e.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return c, &noCredentials{e.message, err}
	}
	return c, nil
}

type noCredentials struct {
	message string
	cause   error
}

func (e *noCredentials) Error() string { return e.message }
func (e *noCredentials) Unwrap() error { return e.cause }

// passing says that the reason why there are no credentials may pass by itself: who gives them could not be asked, or was not able to answer.
func (e *noCredentials) passing() bool {
	if code, status, answered := answer(e.cause); answered {
		kind := meaningOf(code, status).kind
		return kind == connectors.Unavailable || kind == connectors.RateLimited || kind == connectors.Unknown
	}
	var network net.Error
	return errors.As(e.cause, &network) || errors.Is(e.cause, context.Canceled)
}
