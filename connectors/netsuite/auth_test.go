package netsuite_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
)

func fetch(t *testing.T, source connectors.Source, stream string, cursor []byte) connectors.Page {
	t.Helper()
	page, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: stream, Cursor: cursor})
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// Each kind of key gets a token that the account takes; it is renewed in time, and works until it is.
func TestRenewal(t *testing.T) {
	t.Parallel()
	for name, key := range map[string]interface{ Public() any }{"PS256": public{keys().rsa}, "ES256": public{keys().ec}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := netsuitetest.New(t, returned)
			s.AddCustomers(t, 1)
			s.Upload(netsuitetest.CertificateID, key.Public())
			def := netsuite.Definition()
			conn := clientCredentials(t, key.(public).key)
			if due := def.Renewal.Due(raw(t, conn)); due.IsZero() || due.After(s.Now()) {
				t.Fatalf("a connection without a token is due %s", due)
			}
			read := func() error {
				source, err := def.OpenSource(connectors.Config{Connection: raw(t, conn), Env: envOf(t, s)})
				if err != nil {
					t.Fatal(err)
				}
				_, err = source.(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "customer"})
				return err
			}
			connectortest.WantError(t, read(), connectors.Unavailable, "access token")
			for round := range 3 {
				conn = renew(t, s, conn)
				due, ends := def.Renewal.Due(raw(t, conn)), def.Renewal.Expires(raw(t, conn))
				if !ends.Equal(s.Now().Add(time.Hour)) || due.After(ends.Add(-10*time.Minute)) || due.Before(s.Now()) {
					t.Fatalf("round %d: due %s, ends %s, now %s", round, due, ends, s.Now())
				}
				s.Set(ends.Add(-time.Second))
				if err := read(); err != nil {
					t.Fatal(err)
				}
				s.Set(ends)
				connectortest.WantError(t, read(), connectors.Unauthorized)
			}
			if n := s.Exchanged(); n != 3 {
				t.Errorf("%d tokens were handed out, want 3", n)
			}
		})
	}
}

// public makes both kinds of key alike.
type public struct{ key any }

func (p public) Public() any {
	if k, ok := p.key.(*rsa.PrivateKey); ok {
		return k.Public()
	}
	return p.key.(*ecdsa.PrivateKey).Public()
}

// What the token endpoint refuses asks for the connection to be set again.
func TestRenewalIsRefused(t *testing.T) {
	t.Parallel()
	other, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*netsuite.Connection){
		"another key":         func(c *netsuite.Connection) { c.PrivateKey = pemOf(t, other) },
		"another certificate": func(c *netsuite.Connection) { c.CertificateID = "certificate-2" },
		"another client":      func(c *netsuite.Connection) { c.ClientID = "somebody" },
		"another account":     func(c *netsuite.Connection) { c.Account = "7654321" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := netsuitetest.New(t, returned)
			s.Upload(netsuitetest.CertificateID, keys().ec.Public())
			conn := clientCredentials(t, keys().ec)
			change(&conn)
			_, err := netsuite.Definition().Renewal.Renew(t.Context(), connectors.Config{Connection: raw(t, conn), Env: envOf(t, s)})
			connectortest.WantError(t, err, connectors.Unauthorized)
			if strings.Contains(err.Error(), "PRIVATE") {
				t.Errorf("the key shows in %v", err)
			}
		})
	}
}

// A connection of token-based authentication is never due.
func TestTokensOfTokenBasedAuthenticationDoNotExpire(t *testing.T) {
	t.Parallel()
	if due := netsuite.Definition().Renewal.Due(raw(t, tokenBased())); !due.IsZero() {
		t.Errorf("due %s", due)
	}
}

// Each part of a signature of token-based authentication counts.
func TestTokenBasedAuthenticationIsRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*netsuite.Connection){
		"consumer key":    func(c *netsuite.Connection) { c.ConsumerKey = "other" },
		"consumer secret": func(c *netsuite.Connection) { c.ConsumerSecret = "other" },
		"token":           func(c *netsuite.Connection) { c.TokenID = "other" },
		"token secret":    func(c *netsuite.Connection) { c.TokenSecret = "a%b c&d" },
		"account":         func(c *netsuite.Connection) { c.Account = "7654321" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := netsuitetest.New(t, returned)
			conn := tokenBased()
			change(&conn)
			source, err := netsuite.Definition().OpenSource(connectors.Config{Connection: raw(t, conn), Env: envOf(t, s)})
			if err != nil {
				t.Fatal(err)
			}
			_, err = source.(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "customer"})
			connectortest.WantError(t, err, connectors.Unauthorized, "Login Audit Trail")
		})
	}
}

func TestConnectionsThatCannotWork(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*netsuite.Connection)
		says   string
	}{
		"no account":                {func(c *netsuite.Connection) { c.Account = "" }, "account"},
		"an account that is a host": {func(c *netsuite.Connection) { c.Account = "evil/x" }, "account"},
		"both ways":                 {func(c *netsuite.Connection) { c.ClientID = "x" }, "either"},
		"no way":                    {func(c *netsuite.Connection) { *c = netsuite.Connection{Account: "1"} }, "either"},
		"half a token":              {func(c *netsuite.Connection) { c.TokenSecret = "" }, "token_secret"},
		"no certificate":            {func(c *netsuite.Connection) { *c = clientCredentials(t, keys().ec); c.CertificateID = "" }, "certificate_id"},
		"no key":                    {func(c *netsuite.Connection) { *c = clientCredentials(t, keys().ec); c.PrivateKey = "secret" }, "PEM"},
		"a short RSA key":           {func(c *netsuite.Connection) { *c = clientCredentials(t, small) }, "3072"},
		"another curve":             {func(c *netsuite.Connection) { *c = clientCredentials(t, p384) }, "P-256"},
		"a URL inside":              {func(c *netsuite.Connection) { c.URL = "https://127.0.0.1/" }, "inside the network"},
		"a URL with a query":        {func(c *netsuite.Connection) { c.URL = "https://proxy.example.com/?x=1" }, "without a query"},
		"too many at once":          {func(c *netsuite.Connection) { c.Concurrency = 101 }, "concurrency"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn := tokenBased()
			c.change(&conn)
			_, err := netsuite.Definition().OpenSource(connectors.Config{Connection: raw(t, conn)})
			connectortest.WantError(t, err, connectors.Invalid, c.says)
			if err != nil && strings.Contains(err.Error(), "secret") && c.says != "token_secret" && c.says != "either" {
				t.Errorf("a secret shows in %v", err)
			}
		})
	}
}

// The account is the same however it is written.
func TestAccount(t *testing.T) {
	t.Parallel()
	of := netsuite.Definition().AccountOf
	for _, spelling := range []string{"1234567_SB1", "1234567-sb1", " https://1234567-sb1.app.netsuite.com ", "1234567-sb1.suitetalk.api.netsuite.com"} {
		if got := of(raw(t, netsuite.Connection{Account: spelling})); got != "1234567_SB1" {
			t.Errorf("%q is account %q", spelling, got)
		}
	}
	if got := of(json.RawMessage("[")); got != "" {
		t.Errorf("an unreadable connection has the account %q", got)
	}
}

// A proxy gets requests that are signed for the vendor's own host, from a client that goes nowhere inside without leave.
func TestURL(t *testing.T) {
	t.Parallel()
	s := netsuitetest.New(t, returned)
	s.AddCustomers(t, 1)
	s.Upload(netsuitetest.CertificateID, keys().ec.Public())
	env := connectors.Env{Now: s.Now, Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}
	for name, conn := range map[string]netsuite.Connection{"token-based": tokenBased(), "client credentials": clientCredentials(t, keys().ec)} {
		conn.URL = s.URL
		if conn.PrivateKey != "" {
			out, err := netsuite.Definition().Renewal.Renew(t.Context(), connectors.Config{Connection: raw(t, conn), Env: env})
			if err != nil {
				t.Fatal(err)
			}
			if conn, err = connectors.Decode[netsuite.Connection](out); err != nil {
				t.Fatal(err)
			}
		}
		source, err := netsuite.Definition().OpenSource(connectors.Config{Connection: raw(t, conn), Env: env})
		if err != nil {
			t.Fatal(err)
		}
		if n := len(fetch(t, source.(connectors.Source), "customer", nil).Records); n != 1 {
			t.Errorf("%s: %d records", name, n)
		}
	}
}
