package eventbridge

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/blob/s3blob"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/outbound"
)

// Connection says who puts events, and where.
type Connection struct {
	Region string `json:"region" jsonschema:"required,description=Region of the bus such as eu-central-1"`
	amazon.Credentials
	Endpoint string `json:"endpoint,omitempty" jsonschema:"format=uri,description=https URL of what speaks the protocols of EventBridge and S3 and STS instead of AWS such as an emulator. http only in a network that the operator allows"`
}

// timeout bounds a request.
const timeout = 30 * time.Second

// check says what is wrong without repeating any of it (I7).
func (c Connection) check(operator bool, allowed []*net.IPNet) error {
	if !amazon.IsRegion(c.Region) {
		return connectors.Errorf(connectors.Invalid, "region", "must be that of the bus, such as eu-central-1")
	}
	if err := c.Credentials.Check(operator); err != nil {
		return err
	}
	return outbound.CheckEndpoint(c.Endpoint, allowed)
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
	a := &account{http: amazon.Client(c.Endpoint, env, outbound.Options{Timeout: timeout, Concurrency: maxConcurrency})}
	cfg, err := amazon.Config(c.Credentials, c.Region, c.Endpoint, a.http)
	if err != nil {
		return nil, err
	}
	a.Client = eventbridge.NewFromConfig(cfg)
	a.objects = s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = c.Endpoint != "" })
	return a, nil
}

func (a *account) bucket(name string) (*blob.Bucket, error) {
	b, err := s3blob.OpenBucket(context.Background(), a.objects, name, nil)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "overflow", "the bucket can't be used")
	}
	return b, nil
}
