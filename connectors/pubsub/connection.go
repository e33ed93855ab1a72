package pubsub

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/oauth"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Connection says who publishes.
type Connection struct {
	ServiceAccount string `json:"service_account,omitempty" jsonschema:"format=password,description=The JSON of a service account's key"`
	Ambient        bool   `json:"ambient,omitempty" jsonschema:"description=Use the credentials of the machine that the worker runs on (Application Default Credentials). Only for the operator's connection"`
	Endpoint       string `json:"endpoint,omitempty" jsonschema:"format=uri,description=Another endpoint: https for a regional one and http for an emulator which is sent no credentials. It must be on the internet or in a network that the operator allows"`
}

const (
	defaultEndpoint = "https://pubsub.googleapis.com"
	scope           = "https://www.googleapis.com/auth/pubsub"
)

// identity is a Connection, checked.
type identity struct {
	target  string             // host:port
	plain   bool               // an emulator
	tokens  oauth2.TokenSource // nil for an emulator
	account string             // the service account's name; "" where it is not known
	project string             // the service account's own
}

// identity says what is wrong without repeating any of it (I7).
func (c Connection) identity(operator bool, allowed []*net.IPNet) (id identity, err error) {
	invalid := func(op, format string, args ...any) (identity, error) {
		return identity{}, connectors.Errorf(connectors.Invalid, op, format, args...)
	}
	endpoint := cmp.Or(c.Endpoint, defaultEndpoint)
	if err := outbound.CheckURL(endpoint, allowed); err != nil { // I14
		return identity{}, err
	}
	u, _ := url.Parse(endpoint) // CheckURL has parsed it
	if u.Path != "" && u.Path != "/" || u.RawQuery != "" {
		return invalid("endpoint", "must be a scheme and a host alone, such as https://europe-west1-pubsub.googleapis.com")
	}
	id.plain = u.Scheme == "http"
	port := "443"
	if id.plain {
		port = "80"
	}
	id.target = net.JoinHostPort(u.Hostname(), cmp.Or(u.Port(), port))

	switch {
	case c.ServiceAccount != "" && c.Ambient:
		return invalid("connection", "give service_account or ambient, not both")
	case c.Ambient && !operator:
		return invalid("connection", "ambient is only for the operator's connection, in a block with hidden: true; a user's needs a service_account")
	case c.ServiceAccount != "":
		return id, id.use([]byte(c.ServiceAccount))
	case c.Ambient:
		id.tokens = oauth2.ReuseTokenSource(nil, ambient{})
	case !id.plain:
		return invalid("connection", "service_account is missing: give the JSON of a key, made with `gcloud iam service-accounts keys create key.json --iam-account=NAME@PROJECT.iam.gserviceaccount.com`")
	}
	return id, nil
}

// use takes a service account's key. Its tokens are signed here and not asked for, so that no URL of a user's file is called.
func (id *identity) use(key []byte) error {
	var file struct {
		Type    string `json:"type"`
		Email   string `json:"client_email"`
		Project string `json:"project_id"`
	}
	if json.Unmarshal(key, &file) != nil || file.Type != "service_account" {
		return connectors.Errorf(connectors.Invalid, "service_account", "must be the JSON of a service account's key, with \"type\": \"service_account\"")
	}
	tokens, err := google.JWTAccessTokenSourceWithScope(key, scope)
	if err != nil {
		return connectors.Errorf(connectors.Invalid, "service_account", "the private_key in it can't be read")
	}
	id.tokens, id.account, id.project = tokens, file.Email, file.Project
	return nil
}

// ambient finds out who the worker is when that is first asked for: it may take a round trip.
type ambient struct{}

func (ambient) Token() (*oauth2.Token, error) {
	ctx := context.WithValue(context.Background(), oauth2.HTTPClient, &http.Client{Timeout: 10 * time.Second})
	found, err := google.FindDefaultCredentials(ctx, scope)
	if err != nil {
		return nil, status.Error(codes.Unauthenticated, "the worker has no credentials of its own")
	}
	token, err := found.TokenSource.Token()
	var answer *oauth2.RetrieveError
	switch {
	case errors.As(err, &answer) && answer.Response.StatusCode/100 == 4:
		return nil, status.Error(codes.Unauthenticated, "the worker's own credentials are not accepted")
	case err != nil:
		return nil, status.Error(codes.Unavailable, "no token could be had for the worker's own credentials")
	}
	return token, nil
}

// tlsConfig is what the destination trusts; the zero value: the system's authorities.
type tlsConfig struct{ roots *x509.CertPool }

// client is a channel to Pub/Sub that remembers why it can't connect.
type client struct {
	*pubsub.TopicAdminClient
	refusal atomic.Pointer[connectors.Error]
}

// Close ends the channel.
func (c *client) Close() error {
	if err := c.TopicAdminClient.Close(); err != nil {
		return connectors.AsError("close", err)
	}
	return nil
}

// dial makes a channel, which connects when it is used.
func dial(id identity, allowed []*net.IPNet, trust tlsConfig) (*client, error) {
	c := &client{}
	dialer := outbound.Dialer(allowed)
	options := []grpc.DialOption{
		// The address is judged for every candidate when a socket is about to connect (I14): names are resolved here and not by gRPC.
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				c.refusal.Store(outbound.AsError("connect", err))
				return nil, err
			}
			c.refusal.Store(nil)
			return conn, nil
		}),
		grpc.WithNoProxy(),
		grpc.WithDisableServiceConfig(), // and so without retries: the engine decides
		grpc.WithDisableRetry(),
		grpc.WithUserAgent("Tributary/1.0"),
		// The engine waits between attempts; this only keeps a busy one from dialling without end.
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 10 * time.Second,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 5 * time.Minute}), // as the official client has it
	}
	if id.plain {
		options = append(options, grpc.WithTransportCredentials(insecure.NewCredentials()))
	} else {
		options = append(options,
			grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: trust.roots})),
			grpc.WithPerRPCCredentials(oauth.TokenSource{TokenSource: id.tokens}))
	}
	conn, err := grpc.NewClient("passthrough:///"+id.target, options...)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connect", "the endpoint can't be used")
	}
	c.TopicAdminClient, err = pubsub.NewTopicAdminClient(context.Background(), option.WithGRPCConn(conn))
	if err != nil {
		_ = conn.Close()
		return nil, connectors.Errorf(connectors.Invalid, "connect", "the client can't be made")
	}
	c.CallOptions = &pubsub.TopicAdminCallOptions{} // without retries and deadlines
	return c, nil
}
