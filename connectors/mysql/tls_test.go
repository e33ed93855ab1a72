package mysql_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
	"tributary/internal/mariadbtest"
)

// selfSigned makes a certificate for 127.0.0.1 that is its own authority, and its key, as PEM.
func selfSigned(t *testing.T) (certificate, key []byte) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})
}

// Modes of TLS, against a server that has it and a user that may not come without.
func TestTLS(t *testing.T) {
	t.Parallel()
	certificate, key := selfSigned(t)
	other, _ := selfSigned(t)
	rawURL := mariadbtest.TLS(t, certificate, key)
	c := connection(t, rawURL)
	c.User, c.Password = "careful", "pw"
	exec(t, session(t, rawURL), "CREATE USER careful IDENTIFIED BY 'pw' REQUIRE SSL", "GRANT ALL ON *.* TO careful")
	for _, test := range []struct {
		mode, host string
		ca         []byte
		kind       connectors.Kind
		says       string
	}{
		{"disabled", "127.0.0.1", nil, connectors.Unauthorized, "Access denied"},
		{"preferred", "127.0.0.1", nil, "", ""},
		{"required", "127.0.0.1", nil, "", ""},
		{"verify_ca", "127.0.0.1", certificate, "", ""},
		{"verify_ca", "localhost", certificate, "", ""}, // whatever the name
		{"verify_ca", "127.0.0.1", other, connectors.Invalid, "not to be trusted"},
		{"verify_ca", "127.0.0.1", nil, connectors.Invalid, "not to be trusted"},
		{"verify_identity", "127.0.0.1", certificate, "", ""},
		{"verify_identity", "localhost", certificate, connectors.Invalid, "not to be trusted"},
		{"verify_identity", "127.0.0.1", other, connectors.Invalid, "not to be trusted"},
		{"verify_identity", "127.0.0.1", nil, connectors.Invalid, "not to be trusted"},
	} {
		c.SSLMode, c.Host, c.SSLCA = test.mode, test.host, string(test.ca)
		err := connectortest.Check(t, opened(t, mysql.MariaDB(), c, mysql.Settings{}, connectors.Append))
		if test.kind == "" {
			if err != nil {
				t.Errorf("%s to %s: %v", test.mode, test.host, err)
			}
			continue
		}
		connectortest.WantError(t, err, test.kind, test.says)
	}
}
