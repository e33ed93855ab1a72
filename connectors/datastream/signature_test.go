package datastream

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"tributary/connectors"
)

// hostile payloads, which a body repeats byte for byte (I8).
var payloads = []string{
	`{"customers": {"id": 7845692539040, "total_spent": "0.00"}}`,
	" {\n \"a\" : 1.0, \"a\": 2e400 }\t\n", "{\"nul\": \"\\u0000\", \"bad\": \"\xff\xfe\"}", `"<script>&amp;\u2028"`, `[]`, `null`, ``,
}

// Each POST carries the payload unchanged, under signatures that a receiver's own tools accept and that cover every byte.
func TestSignaturesVerify(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	d := opened(t, e.URL+"/hook?token=a%20b&x=1", nil)
	var connection Connection
	if err := json.Unmarshal(keys(), &connection); err != nil {
		t.Fatal(err)
	}
	public, err := PublicKeys(keys())
	if err != nil || len(public) != 1 || !public[0].Active || public[0].Algorithm != "RSA-SHA256" {
		t.Fatalf("public keys %v, %v", public, err)
	}
	hook, err := standardwebhooks.NewWebhook(connection.Secrets[0])
	if err != nil {
		t.Fatal(err)
	}
	b := batchOf(make([]string, len(payloads))...)
	for i, p := range payloads {
		b.Records[i].Data = []byte(p)
	}
	if _, err := d.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, p := range e.received() {
		got[string(p.body)] = true
		signature := p.header.Get("X-Alloy-Signature")
		if p.header.Get("X-Tributary-Key-Id") != public[0].ID {
			t.Errorf("key ID %q", p.header.Get("X-Tributary-Key-Id"))
		}
		// As the vendor's documentation says, with nothing of ours: RSA, PKCS #1 v1.5, SHA-256, hex.
		block, _ := pem.Decode([]byte(public[0].PEM))
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := hex.DecodeString(signature)
		if err != nil {
			t.Fatal(err)
		}
		sum := sha256.Sum256([]byte("POST" + e.URL + p.path + string(p.body)))
		if err := rsa.VerifyPKCS1v15(key.(*rsa.PublicKey), crypto.SHA256, sum[:], raw); err != nil {
			t.Errorf("%q: %v", p.body, err)
		}
		if err := Verify(public[0].PEM, "POST", e.URL+p.path, p.body, signature); err != nil {
			t.Errorf("%q: %v", p.body, err)
		}
		if err := hook.Verify(p.body, p.header); err != nil {
			t.Errorf("%q: Standard Webhooks: %v", p.body, err)
		}
		other := "00"
		if strings.HasPrefix(signature, other) {
			other = "01"
		}
		for name, err := range map[string]error{
			"body":      Verify(public[0].PEM, "POST", e.URL+p.path, append([]byte("x"), p.body...), signature),
			"method":    Verify(public[0].PEM, "PUT", e.URL+p.path, p.body, signature),
			"URL":       Verify(public[0].PEM, "POST", e.URL+"/hook", p.body, signature),
			"signature": Verify(public[0].PEM, "POST", e.URL+p.path, p.body, other+signature[2:]),
			"no hex":    Verify(public[0].PEM, "POST", e.URL+p.path, p.body, "zz"),
			"none":      Verify(public[0].PEM, "POST", e.URL+p.path, p.body, ""),
		} {
			if !errors.Is(err, ErrSignature) {
				t.Errorf("another %s: got %v, want ErrSignature", name, err)
			}
		}
	}
	for _, p := range payloads {
		if !got[p] {
			t.Errorf("payload %q did not arrive unchanged", p)
		}
	}
	if err := Verify("no key", "POST", e.URL, nil, "00"); err == nil || errors.Is(err, ErrSignature) {
		t.Errorf("verifying with no key: %v", err)
	}
}

// A URL without a path is called, and signed, with the path /.
func TestTheSignedURLIsTheOneOnTheWire(t *testing.T) {
	t.Parallel()
	public, _ := PublicKeys(keys())
	for _, suffix := range []string{"", "/", "?x=1", "/a%2Fb/%c3%bc", "/a?b=c%20d+e&f", "/?", "//a/../b"} {
		e := listen(t, nil)
		if _, err := opened(t, e.URL+suffix, nil).Write(t.Context(), batchOf("a")); err != nil {
			t.Fatal(err)
		}
		p := e.received()[0]
		if err := Verify(public[0].PEM, "POST", e.URL+p.path, p.body, p.header.Get("X-Alloy-Signature")); err != nil {
			t.Errorf("%q: called as %q: %v", suffix, p.path, err)
		}
	}
}

// Rotation: the first key signs and every key is published; all secrets sign, so a receiver with the old or the new one accepts.
func TestKeysAndSecretsOverlap(t *testing.T) {
	t.Parallel()
	generated, err := GenerateConnection()
	if err != nil {
		t.Fatal(err)
	}
	var one, two Connection
	if errors.Join(json.Unmarshal(keys(), &one), json.Unmarshal(generated, &two)) != nil {
		t.Fatal("not JSON")
	}
	public25519, private25519, _ := ed25519.GenerateKey(rand.Reader)
	block, _ := pem.Decode([]byte(two.SigningKeys[0].PrivateKey))
	parsed, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
	pkcs1 := encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(parsed.(*rsa.PrivateKey)))
	both, _ := json.Marshal(Connection{
		SigningKeys: []SigningKey{{ID: "2026-11", PrivateKey: pkcs1}, one.SigningKeys[0]},
		Secrets:     []string{two.Secrets[0], one.Secrets[0]},
		Ed25519Keys: []string{"whsk_" + base64.StdEncoding.EncodeToString(private25519.Seed()), "whsk_" + base64.StdEncoding.EncodeToString(private25519)},
	})
	public, err := PublicKeys(both)
	if err != nil || len(public) != 4 || public[0].ID != "2026-11" || !public[0].Active || public[1].Active || public[2].Algorithm != "Ed25519" || public[2].ID != public[3].ID {
		t.Fatalf("public keys %+v, %v", public, err)
	}
	k, err := parseConnection(both)
	if err != nil {
		t.Fatal(err)
	}
	h := make(map[string][]string)
	now := time.Now()
	if err := k.sign(h, "https://example.com/", "id", now, []byte("{}")); err != nil {
		t.Fatal(err)
	}
	if h["X-Tributary-Key-Id"][0] != "2026-11" || Verify(public[0].PEM, "POST", "https://example.com/", []byte("{}"), h["X-Alloy-Signature"][0]) != nil ||
		Verify(public[1].PEM, "POST", "https://example.com/", []byte("{}"), h["X-Alloy-Signature"][0]) == nil {
		t.Error("not the first key signs")
	}
	for _, c := range []Connection{one, two} {
		hook, _ := standardwebhooks.NewWebhook(c.Secrets[0])
		if err := hook.Verify([]byte("{}"), h); err != nil {
			t.Error(err)
		}
	}
	var v1a int
	for _, s := range strings.Fields(h["Webhook-Signature"][0]) {
		if encoded, found := strings.CutPrefix(s, "v1a,"); found {
			signature, _ := base64.StdEncoding.DecodeString(encoded)
			if ed25519.Verify(public25519, []byte("id."+h["Webhook-Timestamp"][0]+".{}"), signature) {
				v1a++
			}
		}
	}
	if v1a != 2 {
		t.Errorf("%d v1a signatures verify, want 2: %s", v1a, h["Webhook-Signature"][0])
	}
}

// A bad connection is refused with what is wrong, and without a piece of it (I7).
func TestBadConnectionsAreRefusedWithoutRepeatingThem(t *testing.T) {
	t.Parallel()
	var good Connection
	if err := json.Unmarshal(keys(), &good); err != nil {
		t.Fatal(err)
	}
	short, _ := rsa.GenerateKey(rand.Reader, 1024)
	shortPEM := encodePEM("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(short))
	_, other, _ := ed25519.GenerateKey(rand.Reader)
	otherDER, _ := x509.MarshalPKCS8PrivateKey(other)
	key := good.SigningKeys[0].PrivateKey
	type keys = []SigningKey
	for name, c := range map[string]struct {
		connection any
		want       string
	}{
		"none":             {nil, "signing_keys is empty"},
		"no keys":          {Connection{Secrets: good.Secrets}, "signing_keys is empty"},
		"no secrets":       {Connection{SigningKeys: good.SigningKeys}, "secrets is empty"},
		"unknown field":    {map[string]any{"secret": "canary"}, "known are"},
		"not PEM":          {Connection{SigningKeys: keys{{"a", "canary"}}, Secrets: good.Secrets}, "signing_keys[0].private_key must be a PEM"},
		"damaged PEM":      {Connection{SigningKeys: keys{{"a", encodePEM("PRIVATE KEY", []byte("canary"))}}, Secrets: good.Secrets}, "must be a PEM of an RSA private key"},
		"a public key":     {Connection{SigningKeys: keys{{"a", publicPEM(&short.PublicKey)}}, Secrets: good.Secrets}, "must be a PEM of an RSA private key"},
		"not RSA":          {Connection{SigningKeys: keys{{"a", encodePEM("PRIVATE KEY", otherDER)}}, Secrets: good.Secrets}, "must be a PEM of an RSA private key"},
		"1024 bits":        {Connection{SigningKeys: keys{{"a", shortPEM}}, Secrets: good.Secrets}, "2048 bits or more"},
		"encrypted":        {Connection{SigningKeys: keys{{"a", encodePEM("ENCRYPTED PRIVATE KEY", []byte("canary"))}}, Secrets: good.Secrets}, "is encrypted"},
		"two blocks":       {Connection{SigningKeys: keys{{"a", key + key}}, Secrets: good.Secrets}, "more than one PEM block"},
		"no ID":            {Connection{SigningKeys: keys{{"", key}}, Secrets: good.Secrets}, "signing_keys[0].id"},
		"ID with a break":  {Connection{SigningKeys: keys{{"a\r\nX: y", key}}, Secrets: good.Secrets}, "signing_keys[0].id"},
		"ID twice":         {Connection{SigningKeys: keys{{"a", key}, {"a", key}}, Secrets: good.Secrets}, "signing_keys[1].id"},
		"secret unmarked":  {Connection{SigningKeys: good.SigningKeys, Secrets: []string{"Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5Y2FuYXJ5"}}, "secrets[0]"},
		"secret too short": {Connection{SigningKeys: good.SigningKeys, Secrets: []string{good.Secrets[0], "whsec_Y2FuYXJ5"}}, "secrets[1]"},
		"secret no base64": {Connection{SigningKeys: good.SigningKeys, Secrets: []string{"whsec_!canary"}}, "secrets[0]"},
		"ed25519 length":   {Connection{SigningKeys: good.SigningKeys, Secrets: good.Secrets, Ed25519Keys: []string{"whsk_Y2FuYXJ5"}}, "ed25519_keys[0]"},
	} {
		raw, _ := json.Marshal(c.connection)
		_, err := PublicKeys(raw)
		if kindOf(t, err) != connectors.Invalid || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		if err != nil && (strings.Contains(err.Error(), "canary") || strings.Contains(err.Error(), "Y2FuYXJ5")) {
			t.Errorf("%s: the error repeats what was given: %v", name, err)
		}
	}
}
