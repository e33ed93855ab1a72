package netsuite_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/documented"
	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
)

// returned counts the errors that the stand-ins of this package return. Once all tests have run, none that is documented may be left.
var returned = netsuitetest.Documented()

func TestMain(m *testing.M) { os.Exit(documented.Run(m, returned)) }

// transport leads every request to a server, whatever host it names.
type transport struct {
	to   *url.URL
	base http.RoundTripper
}

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = t.to.Scheme, t.to.Host
	return t.base.RoundTrip(req)
}

func transportTo(t *testing.T, s *netsuitetest.Server) http.RoundTripper {
	t.Helper()
	to, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	return transport{to, base}
}

func envOf(t *testing.T, s *netsuitetest.Server) connectors.Env {
	return connectors.Env{Transport: transportTo(t, s), Now: s.Now}
}

func raw(t *testing.T, v any) json.RawMessage {
	t.Helper()
	out, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// tokenBased is a connection by token-based authentication.
func tokenBased() netsuite.Connection {
	return netsuite.Connection{
		Account: "1234567-sb1", ConsumerKey: netsuitetest.ConsumerKey, ConsumerSecret: netsuitetest.ConsumerSecret,
		TokenID: netsuitetest.TokenID, TokenSecret: netsuitetest.TokenSecret,
	}
}

// keys are made once: an RSA key of 3072 bits takes a while.
var keys = sync.OnceValue(func() (k struct {
	rsa *rsa.PrivateKey
	ec  *ecdsa.PrivateKey
}) {
	var err error
	if k.rsa, err = rsa.GenerateKey(rand.Reader, 3072); err != nil {
		panic(err)
	}
	if k.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		panic(err)
	}
	return k
})

func pemOf(t *testing.T, key any) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// clientCredentials is a connection by OAuth 2.0 that has no access token yet.
func clientCredentials(t *testing.T, key any) netsuite.Connection {
	return netsuite.Connection{
		Account: netsuitetest.Account, ClientID: netsuitetest.ClientID, CertificateID: netsuitetest.CertificateID, PrivateKey: pemOf(t, key),
	}
}

func open(t *testing.T, s *netsuitetest.Server, settings netsuite.Settings) connectors.Source {
	t.Helper()
	source, err := netsuite.Definition().OpenSource(connectors.Config{Settings: raw(t, settings), Connection: raw(t, tokenBased()), Env: envOf(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	return source.(connectors.Source)
}

// TestSource runs the suite that every source passes, with each way to authenticate.
func TestSource(t *testing.T) {
	t.Parallel()
	for name, connect := range map[string]func(*testing.T, *netsuitetest.Server) (netsuite.Connection, []string){
		"token-based": func(*testing.T, *netsuitetest.Server) (netsuite.Connection, []string) {
			return tokenBased(), []string{netsuitetest.ConsumerSecret, netsuitetest.TokenID, netsuitetest.TokenSecret}
		},
		"client credentials": func(t *testing.T, s *netsuitetest.Server) (netsuite.Connection, []string) {
			s.Upload(netsuitetest.CertificateID, keys().ec.Public())
			conn := renew(t, s, clientCredentials(t, keys().ec))
			return conn, []string{conn.PrivateKey, conn.AccessToken}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connectortest.TestSource(t, connectortest.SourceHarness{Start: func(t *testing.T) connectortest.SourceApp {
				s := netsuitetest.New(t, returned)
				s.AddCustomers(t, 25)
				conn, secrets := connect(t, s)
				return app(t, s, conn, secrets)
			}})
		})
	}
}

func app(t *testing.T, s *netsuitetest.Server, conn netsuite.Connection, secrets []string) connectortest.SourceApp {
	changes := int64(0)
	advance := func() (int64, time.Time) {
		s.Advance(time.Second)
		changes++
		return (changes*7)%25 + 1, s.Now()
	}
	return connectortest.SourceApp{
		Transport: transportTo(t, s),
		Open: func(env connectors.Env) (any, error) {
			return netsuite.Definition().OpenSource(connectors.Config{Connection: raw(t, conn), Env: env})
		},
		Secrets: secrets, Now: s.Now, Stream: "customer", Limit: 5,
		Keys: func() []string { return s.Keys(t, "customer") },
		Change: func() (string, int64) {
			id, at := advance()
			s.Put(t, "customer", id, at)
			return strconv.FormatInt(id, 10), at.UnixMicro()
		},
		Late: func() (string, int64, func()) {
			id, at := advance()
			return strconv.FormatInt(id, 10), at.UnixMicro(), func() { s.Put(t, "customer", id, at) }
		},
	}
}

// renew has the connection renewed as the engine does.
func renew(t *testing.T, s *netsuitetest.Server, conn netsuite.Connection) netsuite.Connection {
	t.Helper()
	out, err := netsuite.Definition().Renewal.Renew(t.Context(), connectors.Config{Connection: raw(t, conn), Env: envOf(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := connectors.Decode[netsuite.Connection](out)
	if err != nil {
		t.Fatal(err)
	}
	return renewed
}
