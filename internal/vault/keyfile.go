package vault

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	tinkkeyset "github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"
)

// keyset is what a key file holds: Tink's JSON keyset in the clear. The file's mode protects it.
type keyset struct {
	handle *tinkkeyset.Handle
	aead   tink.AEAD
	// fingerprint stays the same over rotations: it is of the first key. It tells nothing of the key.
	fingerprint string
}

// GenerateKeyFile makes a key file that only its owner may read. It does not overwrite one: the error is os.ErrExist.
func GenerateKeyFile(path string) error {
	handle, err := tinkkeyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("generate key file: %w", err)
	}
	// Linked when complete, so that nobody reads half a file.
	temporary, err := writeTemporary(path, handle)
	if err != nil {
		return fmt.Errorf("generate key file: %w", err)
	}
	defer os.Remove(temporary)
	if err := os.Link(temporary, path); err != nil {
		return fmt.Errorf("generate key file: %w", err)
	}
	return syncFolder(path)
}

// RotateKeyFile adds a key to the file and makes it the one that encrypts; the old ones still decrypt. Copy the file to
// the other machines. A running worker takes it up when it meets what is encrypted with the new key, and encrypts with
// it from then on, or from its next start.
func RotateKeyFile(path string) error {
	if err := rotate(path); err != nil {
		return fmt.Errorf("rotate key file: %w", err)
	}
	return nil
}

func rotate(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	// Of two rotations at the same time one would lose the other's key.
	lock := path + ".rotating"
	f, err := os.OpenFile(lock, os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists: another rotation is running, or was cut off; if none is running, remove that file", lock)
	}
	if err != nil {
		return err
	}
	f.Close()
	defer os.Remove(lock)
	keys, err := readKeyFile(path)
	if err != nil {
		return err
	}
	m := tinkkeyset.NewManagerFromHandle(keys.handle)
	id, err := m.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return err
	}
	if err := m.SetPrimary(id); err != nil {
		return err
	}
	handle, err := m.Handle()
	if err != nil {
		return err
	}
	temporary, err := writeTemporary(path, handle)
	if err != nil {
		return err
	}
	defer os.Remove(temporary)
	if err := os.Rename(temporary, path); err != nil {
		return err
	}
	return syncFolder(path)
}

// writeTemporary writes a keyset durably beside path; os.CreateTemp gives the file mode 0600.
func writeTemporary(path string, handle *tinkkeyset.Handle) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return "", err
	}
	err = errors.Join(insecurecleartextkeyset.Write(handle, tinkkeyset.NewJSONWriter(f)), f.Sync(), f.Close())
	if err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// syncFolder makes the name of a new file durable.
func syncFolder(path string) error {
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func readKeyFile(path string) (*keyset, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key file %s does not exist: copy the one that the other workers use or, for a new catalog, make one with `starter key new %s`", path, path)
	}
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("key file %s can be read or changed by others (mode %04o): run `chmod 600 %s`", path, mode, path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key file: %w", err)
	}
	handle, err := insecurecleartextkeyset.Read(tinkkeyset.NewJSONReader(bytes.NewReader(text)))
	if err != nil {
		// The parser's words may repeat a piece of a key.
		return nil, fmt.Errorf("key file %s is not a Tink keyset in JSON: restore it from a backup", path)
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, fmt.Errorf("key file %s holds keys that are not for AEAD: restore it from a backup", path)
	}
	first := insecurecleartextkeyset.KeysetMaterial(handle).GetKey()[0]
	mac := hmac.New(sha256.New, first.GetKeyData().GetValue())
	mac.Write([]byte("tributary key file 1"))
	return &keyset{handle: handle, aead: primitive, fingerprint: hex.EncodeToString(mac.Sum(nil)[:16])}, nil
}

func (k *keyset) has(id uint32) bool {
	for _, key := range k.handle.KeysetInfo().GetKeyInfo() {
		if key.GetKeyId() == id {
			return true
		}
	}
	return false
}

// keyID reads which key encrypted: Tink puts a 1 and the ID before the ciphertext,
// https://developers.google.com/tink/wire-format.
func keyID(ciphertext []byte) (uint32, bool) {
	if len(ciphertext) < 5 || ciphertext[0] != 1 {
		return 0, false
	}
	return binary.BigEndian.Uint32(ciphertext[1:]), true
}
