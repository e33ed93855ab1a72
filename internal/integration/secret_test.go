package integration

import (
	"errors"
	"strings"
	"testing"
)

// A secret in a file is refused wherever it stands, with what to do instead, and is never shown (I7).
func TestParseRefusesSecrets(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	const canary = "Zq8vT4xW2kLm9Rp7"
	shop := func(settings string) string {
		return strings.Replace(base, "trigger: realtime", "trigger: realtime\n  settings:\n    "+settings, 1)
	}
	jwt := "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0." + canary
	for name, c := range map[string]struct{ src, want string }{
		"field of the connection":        {shop("shop: " + canary), "6:11: source.settings.shop: this belongs to the connection"},
		"secret field of the connection": {shop("access_token: " + canary), "6:19: source.settings.access_token: "},
		"setting declared as secret":     {shop("pin: " + canary), "6:10: source.settings.pin: a secret does not belong here"},
		"nested setting":                 {shop("retry: {token: " + canary + "}"), "6:20: source.settings.retry.token: a secret"},
		"key of a free map":              {shop("headers: {Authorization: " + canary + "}"), "source.settings.headers.Authorization: a secret"},
		"key of a free value":            {shop("extra: {a: [{client-secret: [" + canary + "]}]}"), "source.settings.extra.a[0].client-secret: a secret"},
		"unknown setting":                {shop("apiKey: " + canary), "source.settings.apiKey: a secret"},
		"secret of a wrong type":         {shop("pin: [" + canary + "]"), "source.settings.pin: a secret"},
		"field of a block":               {strings.Replace(base, "trigger:", "password: "+canary+"\n  trigger:", 1), "source.password: a secret"},
		"field of the file":              {base + "private_key: " + canary, "private_key: a secret"},
		"field of an unknown connector":  {strings.Replace(base, "connector: shopify", "connector: nobody\n  token: "+canary, 1), "source.token: a secret"},
		"PEM":                            {base + "description: |\n  -----BEGIN RSA PRIVATE KEY-----\n  " + canary + "\n", "12:3: this looks like a secret"},
		"whsec":                          {base + "description: whsec_" + canary, "11:14: this looks like a secret"},
		"whsk":                           {base + "description: whsk_" + canary, "this looks like a secret"},
		"shpat":                          {base + "description: shpat_" + canary, "this looks like a secret"},
		"sk_live":                        {base + "description: sk_live_" + canary, "this looks like a secret"},
		"AKIA":                           {base + "description: AKIA" + strings.ToUpper(canary), "this looks like a secret"},
		"ghp":                            {base + "description: ghp_" + canary, "this looks like a secret"},
		"JWT":                            {base + "description: " + jwt, "this looks like a secret"},
		"URL":                            {base + "description: see postgres://me:" + canary + "@db/x", "this looks like a secret"},
		"key that is a secret":           {base + "ghp_" + canary + ": a", "this looks like a secret"},
		"comment":                        {base + "# ghp_" + canary, "11:3: this looks like a secret"},
		"program":                        {strings.Replace(base, "    connector: duckdb", "    connector: duckdb\n    map: ghp_"+canary, 1), "9:10: this looks like a secret"},
		"file that is no YAML":           {"a: [ghp_" + canary, "1:5: this looks like a secret"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Parse("f", []byte(c.src), reg)
			var problems Problems
			if !errors.As(err, &problems) || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %s", err, c.want)
			}
			if !strings.Contains(err.Error(), "store it with `starter connection set") {
				t.Errorf("it does not say what to do: %v", err)
			}
			for _, secret := range []string{canary, strings.ToUpper(canary)} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the secret is shown: %v", err)
				}
			}
		})
	}
}

// What only resembles a secret is none.
func TestParseAllowsNoSecrets(t *testing.T) {
	t.Parallel()
	reg := testRegistry(t)
	for _, settings := range []string{
		"secret_header: X-Signature", // declared by the connector, which knows what it is
		"headers: {Content-Type: text/plain, X-Max-Tokens: '5', X-Key-Id: k1}",
		`extra: ["https://a.example:8080/x@y", "me@example.com", "whsec_", "a:b@c", "https://a/?q=1@2:3"]`,
	} {
		src := strings.Replace(base, "trigger: realtime", "trigger: realtime\n  settings:\n    "+settings, 1)
		if _, err := Parse("f", []byte(src), reg); err != nil {
			t.Errorf("%s: %v", settings, err)
		}
	}
}
