// Package vault keeps connections encrypted in the catalog, under keys that are in a file and never in a database.
//
// Encryption is AEAD by Tink. What a ciphertext is for (owner, connector, name) is authenticated with it, so that a row
// copied to another owner doesn't decrypt. Nothing decrypted is kept in memory here, and no error holds any of it (I7).
package vault

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"tributary/internal/catalog"
)

// Operator owns the connections of hidden blocks.
const Operator = "operator"

// App owns the credentials of the apps that the operator has registered with vendors.
const App = "app"

// User is the owner of the connections of the user with that ID.
func User(id string) string { return userPrefix + id }

// UserOf is the ID of the user who the owner is; false: it is no user.
func UserOf(owner string) (id string, ok bool) { return strings.CutPrefix(owner, userPrefix) }

const userPrefix = "user:"

// Vault encrypts and decrypts. It may be used by many goroutines.
type Vault struct {
	catalog *catalog.Catalog
	path    string
	keys    atomic.Pointer[keyset]
}

// Connection is what Get finds. Printed or logged it doesn't show the secret.
type Connection struct {
	Secret    json.RawMessage `json:"-"`
	Version   int64           // changes whenever the connection does
	Account   string          // the app's account; "" where there is no such thing
	UpdatedAt time.Time
}

// Format keeps the secret out of every verb of fmt, and so of slog's handlers.
func (c Connection) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "connection version %d of account %q", c.Version, c.Account)
}

// bindTimeout bounds what Open asks of the catalog.
const bindTimeout = 30 * time.Second

// Open reads the key file, and makes the catalog belong to it or checks that it does: a worker with another key file
// could read nothing, and would write what the others can't read. Rotating the file keeps the catalog's.
func Open(c *catalog.Catalog, keyFile string) (*Vault, error) {
	keys, err := readKeyFile(keyFile)
	if err != nil {
		return nil, fmt.Errorf("open vault: %w", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), bindTimeout)
	defer cancel()
	if err := c.BindStore(ctx, "key file", keys.fingerprint); err != nil {
		return nil, fmt.Errorf("open vault with %s: %w", keyFile, err)
	}
	v := &Vault{catalog: c, path: keyFile}
	v.keys.Store(keys)
	return v, nil
}

// Put encrypts and stores a connection's secret, a JSON object, and returns the connection's new version.
func (v *Vault) Put(ctx context.Context, owner, connector, name string, secret json.RawMessage, account string) (int64, error) {
	ciphertext, err := v.encrypt(owner, connector, name, secret)
	if err != nil {
		return 0, err
	}
	return v.catalog.PutConnection(ctx, catalog.Connection{
		Owner: owner, Connector: connector, Name: name, Account: account, Ciphertext: ciphertext,
	})
}

// Replace is Put where the connection still has that version, and keeps its account; catalog.ErrChanged.
func (v *Vault) Replace(ctx context.Context, owner, connector, name string, version int64, secret json.RawMessage) (int64, error) {
	ciphertext, err := v.encrypt(owner, connector, name, secret)
	if err != nil {
		return 0, err
	}
	return v.catalog.ReplaceConnection(ctx, catalog.Connection{
		Owner: owner, Connector: connector, Name: name, Version: version, Ciphertext: ciphertext,
	})
}

func (v *Vault) encrypt(owner, connector, name string, secret json.RawMessage) ([]byte, error) {
	if err := checkNames(owner, connector, name); err != nil {
		return nil, err
	}
	var fields map[string]json.RawMessage
	if json.Unmarshal(secret, &fields) != nil || fields == nil {
		return nil, fmt.Errorf("put connection %s of %s for %s: the secret is not a JSON object", name, owner, connector)
	}
	ciphertext, err := v.keys.Load().aead.Encrypt(secret, connectionContext(owner, connector, name))
	if err != nil {
		return nil, fmt.Errorf("put connection %s of %s for %s: %w", name, owner, connector, err)
	}
	return ciphertext, nil
}

// Get finds a connection and decrypts it; catalog.ErrNotFound.
func (v *Vault) Get(ctx context.Context, owner, connector, name string) (Connection, error) {
	c, err := v.catalog.Connection(ctx, owner, connector, name)
	if err != nil {
		return Connection{}, err
	}
	secret, err := v.decrypt(c.Ciphertext, connectionContext(owner, connector, name))
	if err != nil {
		return Connection{}, fmt.Errorf("connection %s of %s for %s: %w", name, owner, connector, err)
	}
	return Connection{Secret: secret, Version: c.Version, Account: c.Account, UpdatedAt: c.UpdatedAt}, nil
}

// Seal encrypts a small secret that is kept elsewhere. Only Unseal with the same purpose opens it.
func (v *Vault) Seal(purpose string, plain []byte) ([]byte, error) {
	sealed, err := v.keys.Load().aead.Encrypt(plain, sealContext(purpose))
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", purpose, err)
	}
	return sealed, nil
}

// Unseal opens what Seal sealed for the same purpose.
func (v *Vault) Unseal(purpose string, sealed []byte) ([]byte, error) {
	plain, err := v.decrypt(sealed, sealContext(purpose))
	if err != nil {
		return nil, fmt.Errorf("unseal %s: %w", purpose, err)
	}
	return plain, nil
}

// decrypt reads the key file again when it meets a key that it doesn't know: another worker's file was rotated first.
func (v *Vault) decrypt(ciphertext, authenticated []byte) ([]byte, error) {
	keys := v.keys.Load()
	id, tagged := keyID(ciphertext)
	if tagged && !keys.has(id) {
		fresh, err := readKeyFile(v.path)
		if err != nil {
			return nil, err
		}
		if fresh.fingerprint != keys.fingerprint || !fresh.has(id) {
			return nil, fmt.Errorf("encrypted with key %d, which is not in key file %s: copy the rotated key file to this machine", id, v.path)
		}
		v.keys.Store(fresh)
		keys = fresh
	}
	plain, err := keys.aead.Decrypt(ciphertext, authenticated)
	if err != nil {
		return nil, errors.New("does not decrypt: what is stored was changed, or was stored for another owner or purpose; store it again")
	}
	return plain, nil
}

func checkNames(owner, connector, name string) error {
	id, isUser := UserOf(owner)
	switch {
	case owner != Operator && owner != App && (!isUser || id == ""):
		return fmt.Errorf("put connection: owner %q: want %q, %q or %q with the user's ID", owner, Operator, App, userPrefix)
	case connector == "" || name == "":
		return errors.New("put connection: a connector and a name are needed")
	}
	return nil
}

func connectionContext(owner, connector, name string) []byte {
	return associated("tributary connection 1", owner, connector, name)
}

func sealContext(purpose string) []byte { return associated("tributary seal 1", purpose) }

// associated joins what is authenticated with a ciphertext, each part after its length, so that no two lists of
// parts are the same bytes. The first names the scheme and its version.
func associated(parts ...string) []byte {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return b
}
