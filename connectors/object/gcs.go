package object

import (
	"context"
	"net/http"
	"strings"

	"cloud.google.com/go/storage"
	"gocloud.dev/blob"
	"gocloud.dev/blob/gcsblob"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/outbound"
)

// GCSConnection is whose bucket it is and how to get in: the key of a service account, or the worker's own credentials.
type GCSConnection struct {
	Bucket            string `json:"bucket,omitempty" jsonschema:"description=Bucket to write to where the block names none"`
	ServiceAccountKey string `json:"service_account_key,omitempty" jsonschema:"description=Text of the JSON key file of a service account,format=password"`
	Ambient           bool   `json:"ambient,omitempty" jsonschema:"description=Use the credentials that the worker finds in its own environment instead of a key; for connections of the operator"`
	Endpoint          string `json:"endpoint,omitempty" jsonschema:"description=https URL of another host that answers as Cloud Storage does,format=uri"`
}

// GCS describes the connector for Google Cloud Storage. Destinations opened from one Definition with the same connection share connections.
func GCS() connectors.Definition {
	var accounts lifetime.Shared[account]
	return connectors.Definition{
		Name:       "gcs",
		Title:      "Google Cloud Storage",
		Doc:        "Writes records as files of JSON lines or Parquet into a bucket of Google Cloud Storage, in folders by stream and date. Every change is a record; the payload is kept byte for byte.",
		Settings:   Settings{},
		Connection: GCSConnection{},
		Modes:      []connectors.Mode{connectors.Append},
		Layouts:    layouts,
		OpenDestination: func(c connectors.Config) (connectors.Destination, error) {
			connection, err := connectors.Decode[GCSConnection](c.Connection)
			if err != nil {
				return nil, err
			}
			if connection.Ambient && !c.Operator {
				// A user could write wherever the worker may.
				return nil, connectors.Errorf(connectors.Invalid, "connection", "ambient is for the operator's own connections: give this one credentials of its own")
			}
			tokens, err := connection.tokens(c.Env)
			if err != nil {
				return nil, err
			}
			return open(c, connection.Bucket, func() (account, func() error, error) {
				return accounts.Acquire(string(c.Connection), func() (account, error) { return newGCS(connection, tokens, c.Env) })
			})
		},
	}
}

// tokens is where access tokens come from.
func (c GCSConnection) tokens(env connectors.Env) (oauth2.TokenSource, error) {
	invalid := func(message string) (oauth2.TokenSource, error) {
		return nil, &connectors.Error{Kind: connectors.Invalid, Op: "connection", Message: message}
	}
	switch {
	case c.Ambient == (c.ServiceAccountKey != ""):
		return invalid("give service_account_key, or ambient: true for the worker's own credentials")
	case c.Endpoint != "" && c.Ambient:
		return invalid("the worker's credentials are for Google only: give an endpoint a service_account_key of its own")
	}
	if err := outbound.CheckEndpoint(c.Endpoint, env.Networks); err != nil {
		return nil, err
	}
	if c.Ambient {
		return oauth2.ReuseTokenSource(nil, ambient{}), nil
	}
	// Other kinds of key files may name files and hosts of the worker's that credentials are to be fetched from; this takes no other.
	key, err := google.JWTConfigFromJSON([]byte(c.ServiceAccountKey), storage.ScopeReadWrite)
	if err != nil {
		return invalid(`service_account_key: want the text of the JSON key file of a service account, with "type": "service_account"`)
	}
	if err := outbound.CheckURL(key.TokenURL, env.Networks); err != nil {
		return invalid("service_account_key: token_uri: " + connectors.AsError("", err).Message)
	}
	endpoint := key.TokenURL
	if endpoint == google.JWTTokenURL {
		endpoint = "" // the vendor's
	}
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, client(endpoint, env))
	return key.TokenSource(ctx), nil
}

// ambient is the worker's own credentials, looked for when they are needed.
type ambient struct{}

// Token gets an access token.
func (ambient) Token() (*oauth2.Token, error) {
	const message = "the worker finds no credentials of its own that Google accepts"
	c, err := google.FindDefaultCredentials(context.Background(), storage.ScopeReadWrite)
	if err != nil {
		return nil, &credentialError{message, err}
	}
	t, err := c.TokenSource.Token()
	if err != nil {
		return nil, &credentialError{message, err}
	}
	return t, nil
}

type gcsAccount struct {
	http   *http.Client
	client *storage.Client
}

var _ account = (*gcsAccount)(nil)

func newGCS(c GCSConnection, tokens oauth2.TokenSource, env connectors.Env) (account, error) {
	a := &gcsAccount{http: client(c.Endpoint, env)}
	authorized := *a.http
	authorized.Transport = &oauth2.Transport{Base: a.http.Transport, Source: tokens}
	options := []option.ClientOption{option.WithHTTPClient(&authorized)}
	if c.Endpoint != "" {
		options = append(options, option.WithEndpoint(strings.TrimSuffix(c.Endpoint, "/")+"/storage/v1/"))
	}
	var err error
	if a.client, err = storage.NewClient(context.Background(), options...); err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "the client can't be made")
	}
	a.client.SetRetry(storage.WithPolicy(storage.RetryNever)) // the engine comes again
	return a, nil
}

func (a *gcsAccount) open(bucket string) (*blob.Bucket, error) {
	return gcsblob.OpenBucket(context.Background(), nil, bucket, &gcsblob.Options{Client: a.client})
}

func (a *gcsAccount) listAfter(key string) func(func(any) bool) error {
	return func(as func(any) bool) error {
		var query *storage.Query
		if as(&query) {
			query.StartOffset = key
			if err := query.SetAttrSelection([]string{"Name"}); err != nil {
				return err
			}
		}
		return nil
	}
}

func (a *gcsAccount) writing(refused bool) func(func(any) bool) error {
	return func(as func(any) bool) error {
		var object **storage.ObjectHandle
		if refused && as(&object) {
			*object = (*object).If(storage.Conditions{GenerationMatch: 1})
		}
		return nil
	}
}

func (a *gcsAccount) Close() error {
	a.http.CloseIdleConnections()
	if err := a.client.Close(); err != nil {
		return connectors.AsError("close", err)
	}
	return nil
}
