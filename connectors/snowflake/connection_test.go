package snowflake_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"os/exec"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

// Each way to log in works, and says what is wrong when it does not.
func TestLogins(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	key := direct(s)
	key.Password, key.PrivateKey = "", keyText(t, s)
	oauth := direct(s)
	oauth.Password, oauth.User, oauth.OAuthToken = "", "", s.OAuthToken()
	pkcs1 := key
	pkcs1.PrivateKey = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(s.Key())}))
	first := 0
	for name, c := range map[string]snowflake.Connection{"key": key, "key of PKCS#1": pkcs1, "OAuth": oauth, "password": direct(s)} {
		d := openedWith(t, c, warehouse, connectors.Config{})
		if err := d.(connectors.Checker).Check(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", first, 2))
		first += 2
	}
	other, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key.PrivateKey = string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(other)}))
	oauth.OAuthToken = canary
	for code, c := range map[string]snowflake.Connection{"390144": key, "390303": oauth} {
		err := openedWith(t, c, warehouse, connectors.Config{}).(connectors.Checker).Check(t.Context())
		connectortest.WantError(t, err, connectors.Unauthorized, code)
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: the error tells the secret", code)
		}
	}
	s.ExpireOAuth()
	oauth.OAuthToken = s.OAuthToken()
	_, err = openedWith(t, oauth, warehouse, connectors.Config{}).Write(t.Context(), connectortest.Batch(connectors.Append, "orders", first, 2))
	connectortest.WantError(t, err, connectors.Unauthorized, "390318")
}

// Keys that openssl has encrypted open with their passphrase, in each way that it has.
func TestEncryptedKeys(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Fatal("want openssl, whose keys users have")
	}
	encrypt := func(args ...string) string {
		c := exec.Command(openssl, append([]string{"pkcs8", "-topk8", "-passout", "pass:" + canary}, args...)...)
		c.Stdin = strings.NewReader(keyText(t, s))
		out, err := c.Output()
		if err != nil {
			t.Fatalf("openssl %q: %v", args, err)
		}
		return string(out)
	}
	c := direct(s)
	c.Password = ""
	for _, way := range [][]string{{}, {"-v2", "aes-256-cbc"}, {"-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"}, {"-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512"}, {"-v2", "des3"}} {
		c.PrivateKey, c.Passphrase = encrypt(way...), canary
		if err := openedWith(t, c, warehouse, connectors.Config{}).(connectors.Checker).Check(t.Context()); err != nil {
			t.Errorf("%q: %v", way, err)
		}
	}
	fails := func(parts ...string) {
		t.Helper()
		_, err := snowflake.Definition().OpenDestination(connectors.Config{Settings: connectortest.JSON(t, warehouse), Connection: connectortest.JSON(t, c), Env: connectortest.Loopback(), Operator: true})
		connectortest.WantError(t, err, connectors.Invalid, parts...)
		if strings.Contains(err.Error(), canary) {
			t.Error("the error tells the secret")
		}
	}
	c.Passphrase = ""
	fails("encrypted", "private_key_passphrase")
	c.Passphrase = canary + "x"
	fails("the passphrase does not open it")
	c.PrivateKey = encrypt("-v2", "camellia-256-cbc")
	fails("not supported", "openssl")
}

func TestConnections(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	good := direct(s)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(curve)
	if err != nil {
		t.Fatal(err)
	}
	key := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	for name, test := range map[string]struct {
		change func(c *snowflake.Connection, s *snowflake.Settings)
		want   string
	}{
		"no account":        {func(c *snowflake.Connection, _ *snowflake.Settings) { c.Account = "" }, "account"},
		"an account's URL":  {func(c *snowflake.Connection, _ *snowflake.Settings) { c.Account = "https://x.snowflakecomputing.com" }, "account"},
		"another host":      {func(c *snowflake.Connection, _ *snowflake.Settings) { c.Account = "evil.example.com/" }, "account"},
		"no user":           {func(c *snowflake.Connection, _ *snowflake.Settings) { c.User = "" }, "user"},
		"no credentials":    {func(c *snowflake.Connection, _ *snowflake.Settings) { c.Password = "" }, "one of"},
		"two credentials":   {func(c *snowflake.Connection, _ *snowflake.Settings) { c.OAuthToken = "x" }, "one of"},
		"a passphrase only": {func(c *snowflake.Connection, _ *snowflake.Settings) { c.Passphrase = "x" }, "private_key_passphrase"},
		"a key's file": {func(c *snowflake.Connection, _ *snowflake.Settings) {
			c.Password, c.PrivateKey = "", "/home/me/rsa_key.p8"
		}, "not the name of a file"},
		"a public key": {func(c *snowflake.Connection, _ *snowflake.Settings) {
			c.Password, c.PrivateKey = "", key("PUBLIC KEY", der)
		}, "private key"},
		"another kind of key": {func(c *snowflake.Connection, _ *snowflake.Settings) {
			c.Password, c.PrivateKey = "", key("PRIVATE KEY", der)
		}, "RSA"},
		"a small key": {func(c *snowflake.Connection, _ *snowflake.Settings) {
			c.Password, c.PrivateKey = "", key("RSA PRIVATE KEY", x509.MarshalPKCS1PrivateKey(small))
		}, "2,048"},
		"half a key": {func(c *snowflake.Connection, _ *snowflake.Settings) {
			c.Password, c.PrivateKey = "", keyText(t, s)[:200]
		}, "PEM"},
		"a host that is none": {func(c *snowflake.Connection, _ *snowflake.Settings) { c.Host = "a/b" }, "host"},
		"a host inside":       {func(c *snowflake.Connection, _ *snowflake.Settings) { c.Host = "https://169.254.169.254" }, "inside the network"},
		"no database":         {func(_ *snowflake.Connection, s *snowflake.Settings) { s.Database = "" }, "database"},
		"a stage that is SQL": {func(_ *snowflake.Connection, s *snowflake.Settings) { s.Stage = "a..b" }, "stage"},
		"other names":         {func(_ *snowflake.Connection, s *snowflake.Settings) { s.Names = "lower" }, "names"},
		"another JSON":        {func(_ *snowflake.Connection, s *snowflake.Settings) { s.JSON = "json" }, "json"},
		"another clustering":  {func(_ *snowflake.Connection, s *snowflake.Settings) { s.Cluster = "hour" }, "cluster"},
	} {
		c, settings := good, warehouse
		test.change(&c, &settings)
		_, err := snowflake.Definition().OpenDestination(connectors.Config{Settings: connectortest.JSON(t, settings), Connection: connectortest.JSON(t, c), Env: connectortest.Loopback(), Operator: true})
		if err == nil {
			t.Errorf("%s: it is taken", name)
			continue
		}
		connectortest.WantError(t, err, connectors.Invalid, test.want)
	}
	// The driver does with local files what the server says: so users name hosts of Snowflake's only (I14).
	for host, taken := range map[string]bool{
		s.URL: false, "snowflake.example.com": false, "snowflakecomputing.com.example.com": false, "http://a.snowflakecomputing.com": false,
		"a.eu-central-1.privatelink.snowflakecomputing.com": true, "https://a.snowflakecomputing.cn": true, "": true,
	} {
		c := good
		c.Host = host
		d, err := snowflake.Definition().OpenDestination(connectors.Config{Settings: connectortest.JSON(t, warehouse), Connection: connectortest.JSON(t, c), Env: connectortest.Loopback()})
		if taken != (err == nil) {
			t.Errorf("host %q of a user's: %v", host, err)
		}
		if err == nil {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
