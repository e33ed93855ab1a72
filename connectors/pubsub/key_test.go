package pubsub

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/pubsub/pubsubtest"
)

const email = "tributary@acme-data.iam.gserviceaccount.com"

// key is a service account's key, as Google hands it out.
type key struct {
	public *rsa.PublicKey
	json   string
	canary string // a part of the private key
}

func newKey(t testing.TB) key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
	file := raw(t, map[string]string{
		"type": "service_account", "project_id": project, "private_key_id": "k1", "private_key": text, "client_email": email,
		"token_uri": "http://169.254.169.254/never-called",
	})
	return key{public: &private.PublicKey, json: string(file), canary: strings.Split(text, "\n")[5]}
}

// authorize verifies the token that a service account signs for itself:
// https://developers.google.com/identity/protocols/oauth2/service-account#jwt-auth
func authorize(public *rsa.PublicKey) func(string) error {
	return func(header string) error {
		parts := strings.Split(strings.TrimPrefix(header, "Bearer "), ".")
		if len(parts) != 3 {
			return errors.New("no token")
		}
		signature, err := base64.RawURLEncoding.DecodeString(parts[2])
		if err != nil {
			return err
		}
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		if err := rsa.VerifyPKCS1v15(public, crypto.SHA256, sum[:], signature); err != nil {
			return err
		}
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		if err != nil {
			return err
		}
		var claims struct {
			Issuer, Subject, Scope string
			Expiry                 int64
		}
		var fields map[string]any
		if err := json.Unmarshal(text, &fields); err != nil {
			return err
		}
		claims.Issuer, _ = fields["iss"].(string)
		claims.Subject, _ = fields["sub"].(string)
		claims.Scope, _ = fields["scope"].(string)
		expiry, _ := fields["exp"].(float64)
		if claims.Issuer != email || claims.Subject != email || claims.Scope != scope || int64(expiry) < time.Now().Unix() {
			return errors.New("wrong claims")
		}
		return nil
	}
}

// certificate is for 127.0.0.1, with the authority to trust.
func certificate(t testing.TB) (*tls.Certificate, tlsConfig) {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parsed)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: private}, tlsConfig{roots}
}

// secured is a server that takes the tokens of a key alone.
func secured(t testing.TB, public *rsa.PublicKey) (*pubsubtest.Server, tlsConfig) {
	t.Helper()
	cert, trust := certificate(t)
	return pubsubtest.New(t, pubsubtest.Options{Certificate: cert, Returned: returned, Authorize: authorize(public)}), trust
}

// refusing opens a destination with a key that the server doesn't know.
func refusing(k key, s Settings) func(*testing.T) connectors.Destination {
	return func(t *testing.T) connectors.Destination {
		server, trust := secured(t, newKey(t).public)
		d, err := definition(trust).OpenDestination(config(t, Connection{ServiceAccount: k.json, Endpoint: "https://" + server.Addr}, s))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
}

// inside opens a destination whose endpoint passed when it was saved, and leads into the operator's network when it is dialled (I14).
func inside(k key, s Settings) func(*testing.T) connectors.Destination {
	return func(t *testing.T) connectors.Destination {
		c := Connection{ServiceAccount: k.json, Endpoint: "https://127.0.0.1:1"}
		opened, err := Definition().OpenDestination(config(t, c, s))
		if err != nil {
			t.Fatal(err)
		}
		d := opened.(*destination)
		if err := d.release(); err != nil {
			t.Fatal(err)
		}
		id, err := c.identity(true, loopback.Networks)
		if err != nil {
			t.Fatal(err)
		}
		if d.client, err = dial(id, nil, tlsConfig{}); err != nil {
			t.Fatal(err)
		}
		d.release = d.client.Close
		return d
	}
}
