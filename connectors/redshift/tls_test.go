package redshift_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/redshift"
)

// authority makes an authority, as PEM text, and what signs certificates with it.
func authority(t *testing.T, name string) (text string, sign func(names ...string) tls.Certificate) {
	t.Helper()
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	make := func(template, parent *x509.Certificate, public any, by any) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, public, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	newKey := func() *ecdsa.PrivateKey {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	key := newKey()
	der := make(root, root, &key.PublicKey, key)
	text = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	return text, func(names ...string) tls.Certificate {
		leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "a cluster"}, NotBefore: root.NotBefore, NotAfter: root.NotAfter}
		for _, name := range names {
			if ip := net.ParseIP(name); ip != nil {
				leaf.IPAddresses = append(leaf.IPAddresses, ip)
			} else {
				leaf.DNSNames = append(leaf.DNSNames, name)
			}
		}
		own := newKey()
		return tls.Certificate{Certificate: [][]byte{make(leaf, root, &own.PublicKey, key)}, PrivateKey: own}
	}
}

// The server is who the certificate says, by an authority that is trusted: the system's, which has Amazon's, or those of sslrootcert, of which there may be
// several as in Amazon's bundle (https://docs.aws.amazon.com/redshift/latest/mgmt/connecting-ssl-support.html). Less is done only when asked for.
func TestTLS(t *testing.T) {
	t.Parallel()
	ours, sign := authority(t, "ours")
	others, _ := authority(t, "another's")
	for _, test := range []struct {
		name, mode, roots string
		certificate       tls.Certificate
		refused           bool
	}{
		{"by default an authority that nobody knows is refused", "", "", sign("127.0.0.1"), true},
		{"the system's authorities", "verify-full", "", sign("127.0.0.1"), true},
		{"another authority", "verify-full", others, sign("127.0.0.1"), true},
		{"another authority, the name not asked for", "verify-ca", others, sign("127.0.0.1"), true},
		{"its authority", "verify-full", ours, sign("127.0.0.1"), false},
		{"its authority by default", "", ours, sign("127.0.0.1"), false},
		{"its authority among others", "verify-full", others + "\n" + ours, sign("127.0.0.1"), false},
		{"another name", "verify-full", ours, sign("elsewhere.example.com"), true},
		{"another name that is not asked for", "verify-ca", ours, sign("elsewhere.example.com"), false},
		{"nothing asked for", "require", "", sign("elsewhere.example.com"), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			s.SpeakTLS(test.certificate)
			c := connection(t, s)
			c.SSLMode, c.SSLRootCert = test.mode, test.roots
			d := opened(t, block(t, c, redshift.Settings{}, connectors.Append))
			_, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 1))
			if !test.refused {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			wantError(t, err, connectors.Invalid, "certificate", "sslrootcert")
			if n := len(s.Statements()); n != 0 {
				t.Errorf("%d statements reached it", n)
			}
		})
	}
	// What does not speak TLS is not spoken to in the clear, unless asked for.
	for mode, refused := range map[string]bool{"": true, "verify-ca": true, "require": true, "prefer": false, "disable": false} {
		c := connection(t, serve(t))
		c.SSLMode = mode
		_, err := opened(t, block(t, c, redshift.Settings{}, connectors.Append)).Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 1))
		if refused {
			wantError(t, err, connectors.Invalid, "does not speak TLS")
		} else if err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}
