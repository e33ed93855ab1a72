// Package outbound calls hosts that users name, without ever being led into the operator's own network (I14).
//
// An address is judged twice: when a URL is saved (CheckURL) and, because a name may lead elsewhere the next moment, when a
// socket is about to connect to it (Dialer, Client). Redirects are not followed, and the environment's proxy variables are
// ignored.
package outbound

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// Options shape a Client; the zero value is usable.
type Options struct {
	// Allowed are networks that are reachable although they are not of the internet; http works only in them.
	Allowed []*net.IPNet
	// Concurrency is how many requests run at once to one host; that many connections are kept. 0 = 16.
	Concurrency int
	// Timeout bounds a request from the look-up of the name to the end of the answer's body. 0 = 30 s.
	Timeout time.Duration
	// Connect bounds connecting, and then once more the TLS handshake. 0 = 5 s.
	Connect time.Duration
	// MaxBody bounds the answer's body in bytes: reading on gives an *http.MaxBytesError. 0 = 1 MiB.
	MaxBody int64
	// RootCAs replaces the system's certificate authorities. nil = the system's.
	RootCAs *x509.CertPool
	// Resolver replaces the system's resolver. nil = the system's.
	Resolver *net.Resolver
}

// maxHeaderBytes bounds the header of an answer.
const maxHeaderBytes = 64 << 10

// Client calls user-supplied URLs over HTTP/1.1 or HTTP/2. A redirect comes back as the 3xx answer that it is. Its errors may
// name the URL and addresses: AsError makes them fit to be shown.
func Client(o Options) *http.Client {
	// Not by the client's own Timeout, which takes a goroutine and a channel a request where it doesn't know the transport.
	return &http.Client{Transport: &timed{newTransport(o), cmp.Or(o.Timeout, 30*time.Second)}}
}

// Transport is what a Client calls with, for clients that bound their requests themselves: Timeout is not kept.
func Transport(o Options) http.RoundTripper { return newTransport(o) }

func newTransport(o Options) *transport {
	return &transport{secure: o.transport(false), plain: o.transport(true), maxBody: cmp.Or(o.MaxBody, 1<<20)}
}

// Probe proves that the URL's host can be reached: the name resolves, a permitted address connects and, for https, the TLS
// handshake succeeds. It sends no request. Its error is a *connectors.Error.
func Probe(ctx context.Context, raw string, o Options) error {
	u, invalid := parseURL(raw, o.Allowed)
	if invalid != nil {
		return invalid
	}
	plain := u.Scheme == "http"
	port := cmp.Or(u.Port(), "443")
	if plain {
		port = cmp.Or(u.Port(), "80")
	}
	conn, err := o.dialer(plain).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		return AsError("connect", err)
	}
	defer conn.Close()
	if plain {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, o.connect())
	defer cancel()
	config := o.tls()
	config.ServerName = u.Hostname()
	if err := tls.Client(conn, config).HandshakeContext(ctx); err != nil {
		return AsError("connect", err)
	}
	return nil
}

func (o Options) connect() time.Duration { return cmp.Or(o.Connect, 5*time.Second) }

func (o Options) dialer(plain bool) *net.Dialer {
	d := dialer(o.Allowed, plain)
	d.Timeout = o.connect()
	d.Resolver = o.Resolver
	return d
}

func (o Options) tls() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.RootCAs}
}

func (o Options) transport(plain bool) *http.Transport {
	return &http.Transport{
		// Proxy stays nil: the environment's proxy would be a way around the dialer.
		DialContext:            o.dialer(plain).DialContext,
		TLSClientConfig:        o.tls(),
		TLSHandshakeTimeout:    o.connect(),
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxIdleConnsPerHost:    cmp.Or(o.Concurrency, 16),
		IdleConnTimeout:        90 * time.Second,
		MaxResponseHeaderBytes: maxHeaderBytes,
		// A small compressed answer could unpack into a huge one.
		DisableCompression: true,
	}
}

// transport keeps http apart from https, because it may dial fewer addresses.
type transport struct {
	secure, plain *http.Transport
	maxBody       int64
}

func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	via := t.secure
	switch req.URL.Scheme {
	case "https":
	case "http":
		via = t.plain
	default:
		if req.Body != nil {
			req.Body.Close()
		}
		return nil, fmt.Errorf("%w: scheme %s", ErrRefused, req.URL.Scheme)
	}
	res, err := via.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	// http.Client follows a Location, and fails on one that it can't parse; without one it hands over the answer.
	if res.StatusCode/100 == 3 {
		res.Header.Del("Location")
	}
	res.Body = http.MaxBytesReader(nil, res.Body, t.maxBody)
	return res, nil
}

func (t *transport) CloseIdleConnections() {
	t.secure.CloseIdleConnections()
	t.plain.CloseIdleConnections()
}

// timed bounds each request from its beginning to the end of its answer's body.
type timed struct {
	*transport
	timeout time.Duration
}

func (t *timed) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(req.Context(), t.timeout)
	res, err := t.transport.RoundTrip(req.WithContext(ctx))
	if err != nil {
		cancel()
		return nil, err
	}
	res.Body = timedBody{res.Body, cancel}
	return res, nil
}

// timedBody lets go of the request's timer when it is closed.
type timedBody struct {
	io.ReadCloser
	cancel context.CancelFunc
}

func (b timedBody) Close() error {
	defer b.cancel()
	return b.ReadCloser.Close()
}
