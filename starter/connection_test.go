package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const canary = "canary-3f9a"

// Credentials come from a file, the environment or stdin, and are stored so that neither the catalog's file nor any output shows them.
func TestConnectionSet(t *testing.T) {
	t.Parallel()
	s := place(t)
	secret := `{"shop": "example.myshopify.com", "access_token": "` + canary + `"}`
	var said string
	say := func(r result) { said += r.out + r.err }

	say(s.want(exitOK, words("user:ada", "example.myshopify.com"), "connection", "set", "shopify", "--user", "ada", "--file", s.file("secret.json", secret)))
	s.env["CONN"] = secret
	say(s.want(exitOK, words("user:bob"), "connection", "set", "shopify", "--user", "bob", "--env", "CONN", "--name", "eu"))
	s.in = secret
	say(s.want(exitOK, words("operator"), "connection", "set", "shopify", "--operator"))
	say(s.want(exitUsage, words("NONE is not set"), "connection", "set", "shopify", "--operator", "--env", "NONE"))
	say(s.want(exitOK, words("datastream"), "connection", "set", "datastream", "--operator", "--generate"))
	say(s.want(exitUsage, words("--generate is for datastream"), "connection", "set", "shopify", "--operator", "--generate"))
	say(s.want(exitUsage, words("duckdb has no connection"), "connection", "set", "duckdb", "--operator"))

	var rows []connectionRow
	s.object(&rows, "connection", "list")
	if len(rows) != 4 {
		t.Fatalf("%d connections: %+v", len(rows), rows)
	}
	s.object(&rows, "connection", "list", "--user", "bob")
	if len(rows) != 1 || rows[0].Name != "eu" || rows[0].Account != "example.myshopify.com" || rows[0].Version == 0 {
		t.Fatalf("got %+v", rows)
	}
	say(s.want(exitOK, nil, "connection", "list"))
	say(s.want(exitOK, words("Deleted"), "connection", "delete", "shopify", "--user", "ada"))
	say(s.want(exitNotFound, nil, "connection", "delete", "shopify", "--user", "ada"))

	if strings.Contains(said, canary) {
		t.Error("the secret was shown")
	}
	files, err := filepath.Glob(filepath.Join(s.env["TRIBUTARY_DIR"], "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if raw, err := os.ReadFile(f); err == nil && strings.Contains(string(raw), canary) {
			t.Errorf("%s holds the secret in the clear", f)
		}
	}
}

// A connection that does not fit the connector's is refused before it is stored, and no value of it is repeated.
func TestConnectionSetRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		connector, secret string
		say               []string
	}{
		"empty":         {"shopify", " ", words("it is empty")},
		"not JSON":      {"shopify", `{"access_token": "` + canary + `"`, words("not valid JSON")},
		"two objects":   {"shopify", `{"shop": "a", "access_token": "` + canary + `"} {}`, words("not valid JSON")},
		"no object":     {"shopify", `"` + canary + `"`, words("want object")},
		"unknown field": {"shopify", `{"shop": "a", "access_token": "` + canary + `", "token": "` + canary + `"}`, words("unknown field", "token", "known are", "client_secret")},
		"missing field": {"shopify", `{"access_token": "` + canary + `"}`, words("missing", "shop")},
		"wrong type":    {"shopify", `{"shop": "a", "access_token": ["` + canary + `"]}`, words("access_token", "want string")},
		"in a list":     {"datastream", `{"signing_keys": [{"id": "` + canary + `!", "private_key": "` + canary + `"}], "secrets": ["` + canary + `"]}`, words("signing_keys.0.id")},
		"empty list":    {"datastream", `{"signing_keys": [], "secrets": ["` + canary + `"]}`, words("signing_keys", "at least 1")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := place(t)
			s.in = c.secret
			r := s.want(exitUsage, append(c.say, "nothing was stored", "connectors describe "+c.connector), "connection", "set", c.connector, "--operator")
			if strings.Contains(r.out+r.err, canary) {
				t.Errorf("a value was repeated: %s", r.err)
			}
			var rows []connectionRow
			if s.object(&rows, "connection", "list"); len(rows) > 0 {
				t.Errorf("stored %+v", rows)
			}
		})
	}
}
