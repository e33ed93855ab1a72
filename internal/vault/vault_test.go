package vault_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"tributary/internal/catalog"
	"tributary/internal/vault"
)

func openCatalog(t *testing.T) (*catalog.Catalog, string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "catalog.db")
	c, err := catalog.Open(t.Context(), path)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	return c, path
}

// open makes a catalog, a key file and a vault.
func open(t *testing.T) (v *vault.Vault, c *catalog.Catalog, keyFile string) {
	t.Helper()
	c, _ = openCatalog(t)
	keyFile = filepath.Join(t.TempDir(), "key.json")
	must(t, vault.GenerateKeyFile(keyFile))
	v, err := vault.Open(c, keyFile)
	must(t, err)
	return v, c, keyFile
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantText(t *testing.T, err error, mentions ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that mentions %q", mentions)
	}
	for _, m := range mentions {
		if !strings.Contains(err.Error(), m) {
			t.Errorf("error %q does not mention %q", err, m)
		}
	}
}

// A secret comes back byte for byte, with a version that changes.
func TestPutAndGet(t *testing.T) {
	t.Parallel()
	v, _, _ := open(t)
	var last int64
	for _, secret := range []string{`{"token": "a",  "n": 1.0}`, `{}`} {
		version, err := v.Put(t.Context(), vault.User("ann"), "shopify", "default", json.RawMessage(secret), "ann.example")
		must(t, err)
		c, err := v.Get(t.Context(), vault.User("ann"), "shopify", "default")
		must(t, err)
		if string(c.Secret) != secret || c.Version != version || version == last || c.Account != "ann.example" || c.UpdatedAt.IsZero() {
			t.Errorf("put %s as version %d, got %s, %+v", secret, version, c.Secret, c)
		}
		last = version
	}
	_, err := v.Get(t.Context(), vault.User("bob"), "shopify", "default")
	if !errors.Is(err, catalog.ErrNotFound) {
		t.Errorf("another user's connection: %v", err)
	}
}

// Replace puts a new secret in place of the version that was read, and nothing in place of another.
func TestReplace(t *testing.T) {
	t.Parallel()
	v, c, _ := open(t)
	read, err := v.Put(t.Context(), vault.App, "crm", "default", json.RawMessage(`{"n":1}`), "portal-1")
	must(t, err)
	for _, secret := range []string{``, `null`, `"canary"`, `{"token": canary}`} {
		_, err := v.Replace(t.Context(), vault.App, "crm", "default", read, json.RawMessage(secret))
		wantText(t, err, "not a JSON object")
	}
	second, err := v.Replace(t.Context(), vault.App, "crm", "default", read, json.RawMessage(`{"n":2}`))
	must(t, err)
	_, err = v.Replace(t.Context(), vault.App, "crm", "default", read, json.RawMessage(`{"n":3}`))
	if !errors.Is(err, catalog.ErrChanged) {
		t.Errorf("replacing a version that is gone: %v", err)
	}
	got, err := v.Get(t.Context(), vault.App, "crm", "default")
	must(t, err)
	if string(got.Secret) != `{"n":2}` || got.Version != second || got.Account != "portal-1" {
		t.Errorf("got %s, %+v", got.Secret, got)
	}
	stored, err := c.Connection(t.Context(), vault.App, "crm", "default")
	must(t, err)
	if bytes.Contains(stored.Ciphertext, []byte(`"n"`)) {
		t.Error("it is in the clear")
	}
}

func TestPutRefuses(t *testing.T) {
	t.Parallel()
	v, c, _ := open(t)
	for _, secret := range []string{``, `null`, `"canary"`, `["canary"]`, `{"token": canary}`, `{"token":"canary"} canary`} {
		_, err := v.Put(t.Context(), vault.Operator, "shopify", "default", json.RawMessage(secret), "")
		wantText(t, err, "not a JSON object")
		if strings.Contains(err.Error(), "canary") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	for _, names := range [][3]string{{"", "x", "y"}, {"ann", "x", "y"}, {vault.User(""), "x", "y"}, {vault.Operator, "", "y"}, {vault.Operator, "x", ""}} {
		if _, err := v.Put(t.Context(), names[0], names[1], names[2], json.RawMessage(`{}`), ""); err == nil {
			t.Errorf("%q was stored", names)
		}
	}
	all, err := c.Connections(t.Context(), "")
	must(t, err)
	if len(all) != 0 {
		t.Errorf("%d connections were stored", len(all))
	}
}

// Who can write to the catalog can't give a connection to another owner, connector or name, nor change it.
func TestMovedCiphertextDoesNotDecrypt(t *testing.T) {
	t.Parallel()
	v, c, _ := open(t)
	_, err := v.Put(t.Context(), vault.User("ann"), "shopify", "default", json.RawMessage(`{"token":"canary"}`), "")
	must(t, err)
	stored, err := c.Connection(t.Context(), vault.User("ann"), "shopify", "default")
	must(t, err)

	flipped := bytes.Clone(stored.Ciphertext)
	flipped[len(flipped)-1] ^= 1
	sealed, err := v.Seal("connection", []byte(`{"token":"canary"}`))
	must(t, err)
	for name, n := range map[string]catalog.Connection{
		"other owner":     {Owner: vault.User("bob"), Connector: "shopify", Name: "default", Ciphertext: stored.Ciphertext},
		"operator":        {Owner: vault.Operator, Connector: "shopify", Name: "default", Ciphertext: stored.Ciphertext},
		"other connector": {Owner: vault.User("ann"), Connector: "github", Name: "default", Ciphertext: stored.Ciphertext},
		"other name":      {Owner: vault.User("ann"), Connector: "shopify", Name: "second", Ciphertext: stored.Ciphertext},
		"shifted names":   {Owner: vault.User("annshopify"), Connector: "", Name: "default", Ciphertext: stored.Ciphertext},
		"changed":         {Owner: vault.User("cid"), Connector: "shopify", Name: "default", Ciphertext: flipped},
		"cut":             {Owner: vault.User("dan"), Connector: "shopify", Name: "default", Ciphertext: stored.Ciphertext[:8]},
		"empty":           {Owner: vault.User("eve"), Connector: "shopify", Name: "default", Ciphertext: []byte{}},
		"sealed":          {Owner: vault.User("fay"), Connector: "shopify", Name: "default", Ciphertext: sealed},
	} {
		_, err := c.PutConnection(t.Context(), n)
		must(t, err)
		_, err = v.Get(t.Context(), n.Owner, n.Connector, n.Name)
		if err == nil {
			t.Errorf("%s: it decrypted", name)
			continue
		}
		wantText(t, err, "does not decrypt", n.Owner)
	}
}

func TestSeal(t *testing.T) {
	t.Parallel()
	v, _, _ := open(t)
	sealed, err := v.Seal("webhook token", []byte("canary"))
	must(t, err)
	if bytes.Contains(sealed, []byte("canary")) {
		t.Error("it is in the clear")
	}
	plain, err := v.Unseal("webhook token", sealed)
	must(t, err)
	if string(plain) != "canary" {
		t.Errorf("got %q", plain)
	}
	_, err = v.Unseal("other", sealed)
	wantText(t, err, "unseal other", "does not decrypt")
}

// The secret is nowhere in the files of the catalog, and isn't printed with the connection (I7).
func TestSecretIsNotShown(t *testing.T) {
	t.Parallel()
	c, path := openCatalog(t)
	keyFile := filepath.Join(t.TempDir(), "key.json")
	must(t, vault.GenerateKeyFile(keyFile))
	v, err := vault.Open(c, keyFile)
	must(t, err)
	_, err = v.Put(t.Context(), vault.Operator, "postgres", "default", json.RawMessage(`{"dsn":"canary"}`), "")
	must(t, err)

	files, err := filepath.Glob(path + "*")
	must(t, err)
	var stored []byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		must(t, err)
		stored = append(stored, text...)
	}
	if !bytes.Contains(stored, []byte("postgres")) {
		t.Fatal("the row is not in the files that were looked at")
	}
	if bytes.Contains(stored, []byte("canary")) {
		t.Error("the catalog's files hold the secret")
	}

	n, err := v.Get(t.Context(), vault.Operator, "postgres", "default")
	must(t, err)
	var shown bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		slog.New(handler).Info("connection", "value", n, "pointer", &n)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		fmt.Fprintf(&shown, verb, n)
		fmt.Fprintf(&shown, verb, &n)
	}
	for _, form := range []any{"canary", []byte("canary")} { // as text, in hexadecimal, as a list of numbers
		for _, verb := range []string{"%s", "%x", "%d"} {
			if text := strings.Trim(fmt.Sprintf(verb, form), "[]"); strings.Contains(shown.String(), text) {
				t.Errorf("the secret is shown as %s: %s", text, shown.String())
			}
		}
	}
}

// While keys are rotated again and again, running workers read and write without an error, in both directions.
func TestRotateWhileReading(t *testing.T) {
	t.Parallel()
	old, c, keyFile := open(t)
	_, err := old.Put(t.Context(), vault.Operator, "postgres", "first", json.RawMessage(`{"n":0}`), "")
	must(t, err)
	var (
		g    errgroup.Group
		done = make(chan struct{})
	)
	for n := range 4 {
		g.Go(func() error {
			for {
				select {
				case <-done:
					return nil
				default:
				}
				if _, err := vault.Open(c, keyFile); err != nil {
					return err
				}
				if _, err := old.Get(t.Context(), vault.Operator, "postgres", "first"); err != nil {
					return err
				}
				name := fmt.Sprint("of-", n)
				if _, err := old.Put(t.Context(), vault.Operator, "postgres", name, json.RawMessage(`{}`), ""); err != nil {
					return err
				}
				if _, err := old.Get(t.Context(), vault.Operator, "postgres", name); err != nil {
					return err
				}
			}
		})
	}
	for n := range 5 {
		must(t, vault.RotateKeyFile(keyFile))
		fresh, err := vault.Open(c, keyFile) // the fingerprint is still the catalog's
		must(t, err)
		name := fmt.Sprint("rotated-", n)
		_, err = fresh.Put(t.Context(), vault.Operator, "postgres", name, json.RawMessage(`{"n":1}`), "")
		must(t, err)
		for _, v := range []*vault.Vault{old, fresh} {
			_, err = v.Get(t.Context(), vault.Operator, "postgres", name)
			must(t, err)
			_, err = v.Get(t.Context(), vault.Operator, "postgres", "first")
			must(t, err)
		}
	}
	close(done)
	must(t, g.Wait())
}

// A rotation makes a new key encrypt: a copy of the file from before can't read it, and the error says what to do.
func TestStaleKeyFile(t *testing.T) {
	t.Parallel()
	_, c, keyFile := open(t)
	stale := filepath.Join(t.TempDir(), "stale.json")
	text, err := os.ReadFile(keyFile)
	must(t, err)
	must(t, os.WriteFile(stale, text, 0o600))
	behind, err := vault.Open(c, stale)
	must(t, err)

	must(t, vault.RotateKeyFile(keyFile))
	fresh, err := vault.Open(c, keyFile)
	must(t, err)
	_, err = fresh.Put(t.Context(), vault.Operator, "postgres", "default", json.RawMessage(`{}`), "")
	must(t, err)
	_, err = behind.Get(t.Context(), vault.Operator, "postgres", "default")
	wantText(t, err, "copy the rotated key file", stale)

	text, err = os.ReadFile(keyFile)
	must(t, err)
	must(t, os.WriteFile(stale, text, 0o600))
	_, err = behind.Get(t.Context(), vault.Operator, "postgres", "default")
	must(t, err)
}
