//go:build slow

package mongodb_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/mongodb"
)

// certificate is one that signed itself.
func certificate(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// What is wrong with settings and a connection is said when they are saved, without a word of the password.
func TestOpening(t *testing.T) {
	t.Parallel()
	const canary = "canary-7f3a"
	good := mongodb.Connection{Host: "db.example.com", Database: "shop", User: "ada", Password: canary}
	with := func(change func(c *mongodb.Connection)) mongodb.Connection {
		c := good
		change(&c)
		return c
	}
	byURL := func(url string) mongodb.Connection { return mongodb.Connection{URL: url} }
	for name, c := range map[string]struct {
		connection mongodb.Connection
		settings   mongodb.Settings
		config     connectors.Config
		want       string // "" for right
	}{
		"parts":                     {connection: good},
		"members":                   {connection: with(func(c *mongodb.Connection) { c.Host, c.ReplicaSet = "a.example.com:1,b.example.com:2", "rs0" })},
		"no host":                   {connection: with(func(c *mongodb.Connection) { c.Host = "" }), want: "host: want"},
		"a path as host":            {connection: with(func(c *mongodb.Connection) { c.Host = "/tmp/mongodb.sock" }), want: "host: want"},
		"srv with a port":           {connection: with(func(c *mongodb.Connection) { c.Host, c.SRV = "db.example.com:1", true }), want: "without a port"},
		"no database":               {connection: with(func(c *mongodb.Connection) { c.Database = "" }), want: "database is missing"},
		"database with a dot":       {connection: with(func(c *mongodb.Connection) { c.Database = "a.b" }), want: "database: want"},
		"no user":                   {connection: with(func(c *mongodb.Connection) { c.User = "" }), want: "user is missing"},
		"tls prefer":                {connection: with(func(c *mongodb.Connection) { c.TLS = "prefer" }), want: "tls: want"},
		"no certificate":            {connection: with(func(c *mongodb.Connection) { c.CA = "/etc/ca.pem" }), want: "not the name of a file"},
		"url":                       {connection: byURL("mongodb://ada:" + canary + "@db.example.com:27017,b.example.com/shop?replicaSet=rs0&authSource=admin&retryWrites=true&w=1&tls=true")},
		"url of Atlas":              {connection: byURL("mongodb+srv://ada:" + canary + "@cluster0.abc12.mongodb.net/shop?retryWrites=true&w=majority&appName=Cluster0")},
		"database beside the url":   {connection: mongodb.Connection{URL: "mongodb://ada:" + canary + "@db.example.com/", Database: "shop"}},
		"url and parts":             {connection: mongodb.Connection{URL: "mongodb://ada:" + canary + "@db.example.com/shop", Host: "x"}, want: "not both"},
		"url without database":      {connection: byURL("mongodb://ada:" + canary + "@db.example.com"), want: "database is missing"},
		"another scheme":            {connection: byURL("https://ada:" + canary + "@db.example.com/shop"), want: "url: want mongodb://"},
		"password with a slash":     {connection: byURL("mongodb://ada:" + canary + "/x@db.example.com/shop"), want: "url: want mongodb://"},
		"a file of the worker":      {connection: byURL("mongodb://ada:" + canary + "@db.example.com/shop?tlsCertificateKeyFile=/etc/key.pem"), want: "ca beside the URL"},
		"no checks of certificates": {connection: byURL("mongodb://ada:" + canary + "@db.example.com/shop?tlsInsecure=true"), want: "parameter that is not taken"},
		"credentials of the worker": {connection: byURL("mongodb://db.example.com/shop?authMechanism=MONGODB-AWS&authSource=$external"), want: "authMechanism must be"},
		"ca without TLS":            {connection: mongodb.Connection{URL: "mongodb://ada:" + canary + "@db.example.com/shop", CA: certificate(t)}, want: "ca needs TLS"},
		"layout columns":            {connection: good, config: connectors.Config{Layout: connectors.LayoutColumns}, want: "no columns"},
		"unknown decimals":          {connection: good, settings: mongodb.Settings{Decimals: "float"}, want: "decimals"},
		"an empty path":             {connection: good, settings: mongodb.Settings{Dates: []string{"a..b"}}, want: "dates"},
		"an unknown variable":       {connection: good, settings: mongodb.Settings{Collection: "{table}"}, want: "table"},
	} {
		c.config.Connection, c.config.Settings = raw(t, c.connection), raw(t, c.settings)
		d, err := mongodb.Definition().OpenDestination(c.config)
		if err == nil {
			d.Close()
		}
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want == "":
		case err == nil:
			t.Errorf("%s: opened, want an error about %q", name, c.want)
		default:
			var e *connectors.Error
			if !errors.As(err, &e) || e.Kind != connectors.Invalid || !strings.Contains(e.Error(), c.want) {
				t.Errorf("%s: %v does not say %q", name, err, c.want)
			}
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%s: the error tells the password", name)
			}
		}
	}
}
