package main

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/internal/vault"
)

// shell runs command lines in an environment of their own.
type shell struct {
	*testing.T
	env  map[string]string
	in   string
	more []connectors.Definition
}

// place is a shell whose stores are in a temporary directory, with a key file.
func place(t *testing.T) *shell {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "state")
	key := filepath.Join(t.TempDir(), "key.json")
	if err := vault.GenerateKeyFile(key); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	// Nothing listens there: what needs Temporal ends with 6.
	return &shell{T: t, env: map[string]string{"TRIBUTARY_DIR": dir, "TRIBUTARY_KEY_FILE": key, "TEMPORAL_ADDRESS": "127.0.0.1:1"}}
}

// result is what a command line came to.
type result struct {
	code     int
	out, err string
}

func (s *shell) run(args ...string) result {
	s.Helper()
	return s.runContext(s.Context(), args...)
}

func (s *shell) runContext(ctx context.Context, args ...string) result {
	s.Helper()
	var out, errs bytes.Buffer
	code := run(ctx, args, streams{in: strings.NewReader(s.in), out: &out, err: &errs, getenv: func(name string) string { return s.env[name] }, more: s.more})
	return result{code, out.String(), errs.String()}
}

// want runs a command line that is to end with a status and to say each of the words.
func (s *shell) want(code int, words []string, args ...string) result {
	s.Helper()
	r := s.run(args...)
	if r.code != code {
		s.Fatalf("%v: status %d, want %d\n%s%s", args, r.code, code, r.out, r.err)
	}
	for _, w := range words {
		if !strings.Contains(r.out+r.err, w) {
			s.Errorf("%v says nothing of %q:\n%s%s", args, w, r.out, r.err)
		}
	}
	return r
}

// object runs a command line with -o json and decodes what it prints.
func (s *shell) object(into any, args ...string) {
	s.Helper()
	r := s.want(exitOK, nil, append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(r.out), into); err != nil {
		s.Fatalf("%v: %v\n%s", args, err, r.out)
	}
}

// file writes a file and returns its path.
func (s *shell) file(name, text string) string {
	s.Helper()
	path := filepath.Join(s.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		s.Fatal(err)
	}
	return path
}

func words(w ...string) []string { return w }
