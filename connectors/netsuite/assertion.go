package netsuite

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"time"

	"tributary/connectors"
)

const (
	scope = "rest_webservices"
	// assertionLife is short: an assertion is used once, at once. The vendor takes less than 60 minutes. It begins a little earlier, for
	// clocks that differ.
	assertionLife = 5 * time.Minute
	clockSkew     = 30 * time.Second
)

// signer signs assertions by which the client proves itself: a JWT (RFC 7519) as the vendor describes it.
// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_162790605110.html
type signer struct {
	alg  string
	conn Connection
	sign func(digest []byte) ([]byte, error)
}

// signerOf reads the private key. Its errors quote nothing of it (I7).
func signerOf(conn Connection) (*signer, error) {
	if conn.ClientID == "" || conn.CertificateID == "" || conn.PrivateKey == "" {
		return nil, invalid("OAuth 2.0 client credentials need client_id, certificate_id and private_key in the connection")
	}
	s := &signer{conn: conn}
	switch key := parseKey([]byte(conn.PrivateKey)).(type) {
	case *rsa.PrivateKey:
		// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_162686838198.html
		if bits := key.N.BitLen(); bits != 3072 && bits != 4096 {
			return nil, invalid("connection field private_key: NetSuite takes RSA keys of 3072 or 4096 bits, this one has %d", bits)
		}
		// The salt is as long as the hash: RFC 7518, section 3.5.
		s.alg, s.sign = "PS256", func(digest []byte) ([]byte, error) {
			return rsa.SignPSS(rand.Reader, key, crypto.SHA256, digest, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash})
		}
	case *ecdsa.PrivateKey:
		if key.Curve != elliptic.P256() {
			return nil, invalid("connection field private_key: of EC keys those of the curve P-256 are supported")
		}
		s.alg, s.sign = "ES256", func(digest []byte) ([]byte, error) {
			r, v, err := ecdsa.Sign(rand.Reader, key, digest)
			if err != nil {
				return nil, err
			}
			// Both numbers side by side, not ASN.1: RFC 7518, section 3.4.
			out := make([]byte, 64)
			r.FillBytes(out[:32])
			v.FillBytes(out[32:])
			return out, nil
		}
	default:
		return nil, invalid("connection field private_key: want an RSA or EC P-256 private key as PEM, without a password")
	}
	return s, nil
}

// parseKey takes every form in which OpenSSL writes a private key; nil: it is none.
func parseKey(text []byte) any {
	for {
		block, rest := pem.Decode(text)
		if block == nil {
			return nil
		}
		text = rest
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			return key
		}
		if key, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return key
		}
		if key, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return key
		}
	}
}

// assertion proves the client to the token endpoint that the vendor knows as audience.
func (s *signer) assertion(audience string, now time.Time) (string, error) {
	issued := now.Add(-clockSkew)
	header, _ := json.Marshal(map[string]string{"typ": "JWT", "alg": s.alg, "kid": s.conn.CertificateID})
	claims, err := json.Marshal(map[string]any{
		"iss": s.conn.ClientID, "scope": []string{scope}, "aud": audience, "iat": issued.Unix(), "exp": issued.Add(assertionLife).Unix(),
	})
	if err != nil {
		return "", invalid("the assertion cannot be written")
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(claims)
	digest := sha256.Sum256([]byte(text))
	signature, err := s.sign(digest[:])
	if err != nil {
		return "", connectors.Errorf(connectors.Invalid, opRenew, "the private key does not sign")
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
