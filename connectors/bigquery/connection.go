package bigquery

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	rest "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Connection is who writes, and where BigQuery is if not at Google's own address.
type Connection struct {
	Project       string `json:"project,omitempty" jsonschema:"description=Project that the jobs run in and are billed to; without it the key's"`
	Key           string `json:"key,omitempty" jsonschema:"description=Key of a service account: the JSON file as text,format=password"`
	Ambient       bool   `json:"ambient,omitempty" jsonschema:"description=Use the credentials of the worker's own surroundings (Application Default Credentials) instead of a key: for the operator's own connections"`
	Endpoint      string `json:"endpoint,omitempty" jsonschema:"description=URL of another REST endpoint, such as https://bigquery.example.com"`
	WriteEndpoint string `json:"write_endpoint,omitempty" jsonschema:"description=URL of another endpoint of the Storage Write API; needed beside endpoint"`
}

const (
	googleREST  = "https://bigquery.googleapis.com"
	googleWrite = "https://bigquerystorage.googleapis.com"
	scope       = "https://www.googleapis.com/auth/bigquery"
)

// config is a connection that was looked at.
type config struct {
	project     string
	endpoint    string
	write       *url.URL
	key         []byte // nil: ambient
	tokens      string // URL that the key is exchanged at
	transport   http.RoundTripper
	dial        func(ctx context.Context, network, address string) (net.Conn, error)
	environment connectors.Env
}

// serviceAccount is what of a key file counts here.
type serviceAccount struct {
	Type     string `json:"type"`
	Project  string `json:"project_id"`
	Email    string `json:"client_email"`
	TokenURI string `json:"token_uri"`
}

// config looks at a connection. Only keys of service accounts are taken: other kinds of credential files name commands to run and hosts to call. A
// key's own token_uri counts only beside another endpoint. Every host that a user can set is dialled as such (I14).
func (c Connection) config(env connectors.Env) (*config, error) {
	invalid := func(format string, args ...any) (*config, error) {
		return nil, connectors.Errorf(connectors.Invalid, "connection", format, args...)
	}
	r := &config{project: c.Project, endpoint: googleREST, tokens: google.JWTTokenURL, environment: env}
	r.write, _ = url.Parse(googleWrite)
	switch {
	case c.Key == "" && !c.Ambient:
		return invalid("key: want the JSON key of a service account, or ambient: true")
	case c.Key != "" && c.Ambient:
		return invalid("key and ambient exclude each other")
	case (c.Endpoint == "") != (c.WriteEndpoint == ""):
		return invalid("endpoint and write_endpoint go together")
	case c.Endpoint != "" && c.Ambient:
		return invalid("ambient credentials go to Google only: give a key beside endpoint")
	}
	var account serviceAccount
	if c.Key != "" {
		if json.Unmarshal([]byte(c.Key), &account) != nil || account.Type != "service_account" {
			return invalid("key: want the JSON key of a service account, with \"type\": \"service_account\"")
		}
		if _, err := google.JWTConfigFromJSON([]byte(c.Key), scope); err != nil {
			return invalid("key: it is not whole; download it again")
		}
		r.key = []byte(c.Key)
		if r.project == "" {
			r.project = account.Project
		}
	}
	if c.Endpoint == "" {
		r.transport = env.Transport
		if r.transport == nil {
			r.transport = &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 90 * time.Second}
		}
		return r, nil
	}
	for _, u := range []string{c.Endpoint, c.WriteEndpoint, account.TokenURI} {
		if err := outbound.CheckURL(u, env.Networks); err != nil {
			return nil, err
		}
	}
	r.dial = outbound.Dialer(env.Networks).DialContext
	r.transport = outbound.Transport(outbound.Options{Allowed: env.Networks, MaxBody: 64 << 20})
	r.endpoint, r.tokens = c.Endpoint, account.TokenURI
	r.write, _ = url.Parse(c.WriteEndpoint)
	return r, nil
}

// client is a connection to BigQuery, and what is known of its lanes and tables.
type client struct {
	config *config
	rest   *rest.Service
	conn   *grpc.ClientConn
	write  storagepb.BigQueryWriteClient
	tokens func(context.Context) (*oauth2.Token, error)

	mu     sync.Mutex
	ready  map[readiness]bool
	places map[string]place // by dataset
	lanes  map[laneName]*lane
}

func newClient(c *config) (*client, error) {
	k := &client{config: c, ready: make(map[readiness]bool), places: make(map[string]place), lanes: make(map[laneName]*lane)}
	var err error
	if k.tokens, err = c.tokenSource(); err != nil {
		return nil, err
	}
	k.rest, err = rest.NewService(context.Background(), option.WithEndpoint(strings.TrimSuffix(c.endpoint, "/")+"/bigquery/v2/"), option.WithHTTPClient(&http.Client{Transport: &bearer{k.tokens, c.transport}}))
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "no client can be made of it")
	}
	k.rest.UserAgent = "tributary"
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12})),
		grpc.WithDisableRetry(), // the engine comes again
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, MaxDelay: 5 * time.Second}, MinConnectTimeout: 5 * time.Second}),
		grpc.WithUserAgent("tributary"),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)),
	}
	if c.write.Scheme == "http" { // only in networks that the operator allows
		options[0] = grpc.WithTransportCredentials(insecure.NewCredentials())
	}
	target := c.write.Host
	if c.dial != nil {
		target = "passthrough:///" + target // the dialer looks the name up and judges each address
		options = append(options, grpc.WithNoProxy(), grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return c.dial(ctx, "tcp", address) }))
	}
	if c.write.Port() == "" {
		target += ":443"
	}
	k.conn, err = grpc.NewClient(target, options...)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "no client can be made of it")
	}
	k.write = storagepb.NewBigQueryWriteClient(k.conn)
	return k, nil
}

func (k *client) Close() error {
	err := k.conn.Close()
	if idle, ok := k.config.transport.(interface{ CloseIdleConnections() }); ok && k.config.environment.Transport == nil {
		idle.CloseIdleConnections()
	}
	return err
}

// tokenSource fetches tokens, each in the context of the call that needs it, and keeps one until it is about to end.
func (c *config) tokenSource() (func(context.Context) (*oauth2.Token, error), error) {
	fetch := func(ctx context.Context) (*oauth2.Token, error) {
		found, err := google.FindDefaultCredentials(ctx, scope)
		if err != nil {
			return nil, err
		}
		return found.TokenSource.Token()
	}
	if c.key != nil {
		jwt, err := google.JWTConfigFromJSON(c.key, scope)
		if err != nil {
			return nil, connectors.Errorf(connectors.Invalid, "connection", "key: it is not whole")
		}
		jwt.TokenURL = c.tokens
		fetch = func(ctx context.Context) (*oauth2.Token, error) {
			ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Transport: c.transport})
			return jwt.TokenSource(ctx).Token()
		}
	}
	var mu sync.Mutex
	var kept *oauth2.Token
	return func(ctx context.Context) (*oauth2.Token, error) {
		mu.Lock()
		defer mu.Unlock()
		if kept != nil && time.Until(kept.Expiry) > time.Minute {
			return kept, nil
		}
		t, err := fetch(ctx)
		if err != nil {
			return nil, &tokenError{err}
		}
		kept = t
		return t, nil
	}, nil
}

// tokenError says that there is no token.
type tokenError struct{ error }

func (e *tokenError) Unwrap() error { return e.error }

// bearer puts the token into requests.
type bearer struct {
	tokens func(context.Context) (*oauth2.Token, error)
	base   http.RoundTripper
}

func (b *bearer) RoundTrip(req *http.Request) (*http.Response, error) {
	t, err := b.tokens(req.Context())
	if err != nil {
		if req.Body != nil {
			_ = req.Body.Close()
		}
		return nil, err
	}
	req = req.Clone(req.Context())
	t.SetAuthHeader(req)
	return b.base.RoundTrip(req)
}

// call adds to a call of the Storage Write API the token and what it is routed by: https://google.aip.dev/client-libraries/4222
func (k *client) call(ctx context.Context, parameter, value string) (context.Context, error) {
	t, err := k.tokens(ctx)
	if err != nil {
		return nil, err
	}
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+t.AccessToken, "x-goog-request-params", parameter+"="+url.QueryEscape(value)), nil
}
