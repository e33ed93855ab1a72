package vault_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"tributary/internal/catalog"
	"tributary/internal/vault"
)

func TestGenerateKeyFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "key.json")
	must(t, vault.GenerateKeyFile(path))
	info, err := os.Stat(path)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %o", info.Mode().Perm())
	}
	before, err := os.ReadFile(path)
	must(t, err)
	if err := vault.GenerateKeyFile(path); !errors.Is(err, os.ErrExist) {
		t.Errorf("generating again: %v", err)
	}
	after, err := os.ReadFile(path)
	must(t, err)
	if string(after) != string(before) {
		t.Error("the key file was overwritten")
	}
	left, err := os.ReadDir(filepath.Dir(path))
	must(t, err)
	if len(left) != 1 {
		t.Errorf("left in the folder: %v", left)
	}
}

// A worker with another key file, or with none that can be trusted, doesn't start, and hears what to do.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	_, c, keyFile := open(t)
	folder := t.TempDir()

	other := filepath.Join(folder, "other.json")
	must(t, vault.GenerateKeyFile(other))
	_, err := vault.Open(c, other)
	wantText(t, err, other, "key file", "other workers")
	if !errors.Is(err, catalog.ErrOtherStore) {
		t.Errorf("got %v", err)
	}

	_, err = vault.Open(c, filepath.Join(folder, "missing.json"))
	wantText(t, err, "missing.json", "does not exist", "starter key new")

	for _, mode := range []os.FileMode{0o640, 0o604, 0o620} {
		must(t, os.Chmod(keyFile, mode))
		_, err = vault.Open(c, keyFile)
		wantText(t, err, "chmod 600 "+keyFile)
	}
	must(t, os.Chmod(keyFile, 0o400))
	_, err = vault.Open(c, keyFile)
	must(t, err)

	text, err := os.ReadFile(keyFile)
	must(t, err)
	for name, broken := range map[string]string{
		"empty":  "",
		"cut":    string(text[:len(text)/2]),
		"canary": `{"primaryKeyId": "canary", "key": [{"keyData": {"value": "canary"}}]}`,
		"text":   "canary",
	} {
		path := filepath.Join(folder, name)
		must(t, os.WriteFile(path, []byte(broken), 0o600))
		_, err := vault.Open(c, path)
		wantText(t, err, path, "restore it from a backup")
		if strings.Contains(strings.ReplaceAll(err.Error(), path, ""), "canary") {
			t.Errorf("the error shows what is in the file: %v", err)
		}
	}
}

// Rotations at the same time don't lose each other's keys: each one adds a key or is refused.
func TestRotateAtOnce(t *testing.T) {
	t.Parallel()
	v, c, keyFile := open(t)
	sealed := make([][]byte, 8)
	var g errgroup.Group
	for i := range sealed {
		g.Go(func() error {
			if err := vault.RotateKeyFile(keyFile); err != nil {
				if strings.Contains(err.Error(), "another rotation") {
					return nil
				}
				return err
			}
			mine, err := vault.Open(c, keyFile)
			if err != nil {
				return err
			}
			sealed[i], err = mine.Seal("test", []byte("x"))
			return err
		})
	}
	must(t, g.Wait())
	for _, s := range sealed {
		if s == nil {
			continue
		}
		_, err := v.Unseal("test", s)
		must(t, err)
	}
	must(t, vault.RotateKeyFile(keyFile)) // none left its lock behind
	info, err := os.Stat(keyFile)
	must(t, err)
	if info.Mode().Perm() != 0o600 {
		t.Errorf("the mode is %o", info.Mode().Perm())
	}
}

// A key file that is a link stays one.
func TestRotateBehindLink(t *testing.T) {
	t.Parallel()
	_, c, keyFile := open(t)
	link := filepath.Join(t.TempDir(), "key.json")
	must(t, os.Symlink(keyFile, link))
	must(t, vault.RotateKeyFile(link))
	info, err := os.Lstat(link)
	must(t, err)
	if info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	_, err = vault.Open(c, link)
	must(t, err)
}
