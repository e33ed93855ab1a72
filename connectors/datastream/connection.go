package datastream

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"regexp"
	"strings"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tributary/connectors"
)

// Connection is what the operator signs with. It holds several of everything, so that rotating never leaves a receiver with a
// key it does not know.
type Connection struct {
	SigningKeys []SigningKey `json:"signing_keys" jsonschema:"required,minItems=1,description=RSA keys; the first signs X-Alloy-Signature and the others are only published: the next one or the one before"`
	Secrets     []string     `json:"secrets" jsonschema:"required,minItems=1,format=password,description=Standard Webhooks secrets (whsec_ and base64 of 24 to 64 bytes); all sign"`
	Ed25519Keys []string     `json:"ed25519_keys,omitempty" jsonschema:"format=password,description=Standard Webhooks private keys (whsk_ and base64); all sign as v1a"`
}

// SigningKey is an RSA key with the name under which its public half is published.
type SigningKey struct {
	ID         string `json:"id" jsonschema:"required,pattern=^[A-Za-z0-9_.-]{1\\,64}$,description=Sent as X-Tributary-Key-Id"`
	PrivateKey string `json:"private_key" jsonschema:"required,format=password,description=PEM of 2048 bits or more"`
}

// PublicKey is what a receiver verifies with.
type PublicKey struct {
	// ID is a signing key's ID (X-Tributary-Key-Id), for ed25519 a fingerprint.
	ID string `json:"id"`
	// Algorithm is RSA-SHA256 (X-Alloy-Signature) or Ed25519 (v1a of webhook-signature).
	Algorithm string `json:"algorithm"`
	// PEM is the key as SubjectPublicKeyInfo.
	PEM string `json:"pem"`
	// Active says that it signs now.
	Active bool `json:"active"`
}

var keyIDRule = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// PublicKeys returns the public halves of a connection's keys, for the receiver to serve.
func PublicKeys(connection json.RawMessage) ([]PublicKey, error) {
	k, err := parseConnection(connection)
	if err != nil {
		return nil, err
	}
	var public []PublicKey
	for i, key := range k.rsa {
		public = append(public, PublicKey{ID: k.ids[i], Algorithm: "RSA-SHA256", PEM: publicPEM(&key.PublicKey), Active: i == 0})
	}
	for _, key := range k.ed25519 {
		pub := key.Public().(ed25519.PublicKey)
		public = append(public, PublicKey{ID: fingerprint(pub), Algorithm: "Ed25519", PEM: publicPEM(pub), Active: true})
	}
	return public, nil
}

// GenerateConnection makes a connection with a new RSA key of 2048 bits and a new secret.
func GenerateConnection() (json.RawMessage, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, connectors.AsError("generate signing key", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, connectors.AsError("generate signing key", err)
	}
	secret := make([]byte, 32)
	rand.Read(secret) // never fails
	return json.Marshal(Connection{
		SigningKeys: []SigningKey{{ID: fingerprint(&key.PublicKey), PrivateKey: encodePEM("PRIVATE KEY", der)}},
		Secrets:     []string{"whsec_" + base64.StdEncoding.EncodeToString(secret)},
	})
}

// keyring is a Connection, parsed and checked. ids[i] names rsa[i]; the first pair signs.
type keyring struct {
	ids     []string
	rsa     []*rsa.PrivateKey
	hmac    []*standardwebhooks.Webhook
	ed25519 []ed25519.PrivateKey
}

// parseConnection says what is wrong without repeating any of it (I7).
func parseConnection(raw json.RawMessage) (*keyring, error) {
	invalid := func(format string, args ...any) (*keyring, error) {
		return nil, connectors.Errorf(connectors.Invalid, "connection", format, args...)
	}
	c, err := connectors.Decode[Connection](raw)
	switch {
	case err != nil:
		return nil, err
	case len(c.SigningKeys) == 0:
		return invalid("signing_keys is empty; `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048` makes a key")
	case len(c.Secrets) == 0:
		return invalid("secrets is empty; a secret is whsec_ and what `openssl rand -base64 32` prints")
	}
	k := &keyring{}
	seen := map[string]bool{}
	for i, s := range c.SigningKeys {
		if !keyIDRule.MatchString(s.ID) || seen[s.ID] {
			return invalid("signing_keys[%d].id must be 1 to 64 letters, digits, dots, dashes or underscores, and unique", i)
		}
		seen[s.ID] = true
		key, problem := parseRSA(s.PrivateKey)
		if problem != "" {
			return invalid("signing_keys[%d].private_key %s", i, problem)
		}
		k.ids, k.rsa = append(k.ids, s.ID), append(k.rsa, key)
	}
	for i, s := range c.Secrets {
		secret, ok := decode("whsec_", s)
		if !ok || len(secret) < 24 || len(secret) > 64 {
			return invalid("secrets[%d] must be whsec_ and base64 of 24 to 64 bytes", i)
		}
		hmac, err := standardwebhooks.NewWebhookRaw(secret)
		if err != nil {
			return invalid("secrets[%d] is not accepted", i)
		}
		k.hmac = append(k.hmac, hmac)
	}
	for i, s := range c.Ed25519Keys {
		key, ok := decode("whsk_", s)
		if !ok || len(key) != ed25519.SeedSize && len(key) != ed25519.PrivateKeySize {
			return invalid("ed25519_keys[%d] must be whsk_ and base64 of 32 or 64 bytes", i)
		}
		k.ed25519 = append(k.ed25519, ed25519.NewKeyFromSeed(key[:ed25519.SeedSize]))
	}
	return k, nil
}

func parseRSA(text string) (key *rsa.PrivateKey, problem string) {
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, "must be a PEM of an RSA private key"
	case strings.TrimSpace(string(rest)) != "":
		return nil, "holds more than one PEM block"
	case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
		return nil, "is encrypted; decrypt it with `openssl pkey` first: it is stored encrypted here"
	}
	var parsed any
	var err error
	switch block.Type {
	case "RSA PRIVATE KEY":
		parsed, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		parsed, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	}
	key, ok := parsed.(*rsa.PrivateKey)
	switch {
	case err != nil || !ok:
		return nil, "must be a PEM of an RSA private key"
	case key.N.BitLen() < 2048:
		return nil, "must have 2048 bits or more"
	case key.N.BitLen() > 8192:
		return nil, "must have 8192 bits or fewer: signing with more takes too long"
	}
	return key, ""
}

func decode(prefix, text string) ([]byte, bool) {
	encoded, found := strings.CutPrefix(text, prefix)
	b, err := base64.StdEncoding.DecodeString(encoded)
	return b, found && err == nil
}

// fingerprint names a public key by its own bytes.
func fingerprint(public any) string {
	sum := sha256.Sum256(publicDER(public))
	return hex.EncodeToString(sum[:8])
}

func publicPEM(public any) string { return encodePEM("PUBLIC KEY", publicDER(public)) }

func publicDER(public any) []byte {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		panic("datastream: a key of a kind that was never parsed: " + err.Error())
	}
	return der
}

func encodePEM(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}
