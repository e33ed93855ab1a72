package duckdb_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/duckdb"
)

// writing names the file that a child process of the tests writes to.
const writing = "TRIBUTARY_TEST_DUCKDB_FILE"

func TestMain(m *testing.M) {
	if path := os.Getenv(writing); path != "" {
		writeForever(path)
	}
	os.Exit(m.Run())
}

// writeForever writes batches of 100 records and prints how many are durable, until it is killed.
func writeForever(path string) {
	d, err := duckdb.NewFiles().Definition().OpenDestination(connectors.Config{Settings: fmt.Appendf(nil, `{"path": %q}`, path), Mode: connectors.Append})
	for first := 0; err == nil; first += 100 {
		_, err = d.Write(context.Background(), batch(connectors.Append, "orders", first, 100))
		fmt.Println(first + 100)
	}
	fmt.Println(err)
	os.Exit(1)
}

// What was durable when the process was killed is there, and what comes again from the beginning is there once. While it runs, nobody else has the
// file.
func TestKilled(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "w.duckdb")
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), writing+"="+path)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	durable := 0
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if _, err := fmt.Sscan(lines.Text(), &durable); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		if durable == 1000 {
			files := duckdb.NewFiles()
			d := open(t, files, path, connectors.Append)
			_, err := d.Write(t.Context(), batch(connectors.Append, "orders", 0, 1))
			connectortest.WantError(t, err, connectors.Unavailable, "another process has the file open")
			connectortest.WantError(t, d.(connectors.Checker).Check(t.Context()), connectors.Unavailable, "another process")
			if err := d.Close(); err != nil {
				t.Fatal(err)
			}
		}
		if durable >= 2000 && child.Process != nil {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			break
		}
	}
	for lines.Scan() { // what it said before it died
		_, _ = fmt.Sscan(lines.Text(), &durable)
	}
	_ = child.Wait()

	files := duckdb.NewFiles()
	d := open(t, files, path, connectors.Append)
	defer d.Close()
	_, found, err := files.Query(t.Context(), path, "SELECT count(*), count(DISTINCT _id) FROM orders", 1)
	if err != nil {
		t.Fatal(err)
	}
	if n := found[0][0].(int64); n < int64(durable) || n != found[0][1] {
		t.Fatalf("%v rows and IDs, %d were durable", found[0], durable)
	}
	for first := 0; first < durable+500; first += 500 {
		write(t, d, batch(connectors.Append, "orders", first, 500))
	}
	again := rows(t, files, path)
	ids := make(map[string]bool)
	for _, r := range again {
		ids[r.ID] = true
	}
	if len(ids) != len(again) || len(ids) < durable+500 {
		t.Fatalf("%d rows, %d IDs", len(again), len(ids))
	}
}

// The file is let go when Files and the last destination are closed, and opens again with what was in it.
func TestSharedFile(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	path := filepath.Join(folder, "new folder", "w.duckdb")
	files := duckdb.NewFiles()
	definition := files.Definition()
	relative, err := definition.OpenDestination(connectors.Config{Settings: []byte(`{"path": "w.duckdb"}`), Mode: connectors.Append, Env: connectors.Env{Dir: filepath.Dir(path)}})
	if err != nil {
		t.Fatal(err)
	}
	absolute := open(t, files, path, connectors.Append)
	write(t, relative, batch(connectors.Append, "orders", 0, 5))
	if err := relative.Close(); err != nil {
		t.Fatal(err)
	}
	write(t, absolute, batch(connectors.Append, "orders", 5, 5))
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".wal"); err != nil {
		t.Error("the file was closed under a destination")
	}
	if err := absolute.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path + ".wal"); err == nil {
		t.Error("the closed file has a log beside it")
	}
	if n := len(rows(t, files, path)); n != 10 {
		t.Fatalf("%d rows, want 10", n)
	}
}

func TestSettings(t *testing.T) {
	t.Parallel()
	definition := duckdb.NewFiles().Definition()
	for settings, want := range map[string]string{
		`{"path": "https://host/w.duckdb"}`:  "path of a file",
		`{"path": "w.duckdb?access_mode=x"}`: "path of a file",
		`{"table": "{nope}"}`:                "{stream}",
		`{"file": "w.duckdb"}`:               "unknown field",
	} {
		_, err := definition.OpenDestination(connectors.Config{Settings: []byte(settings)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", settings, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	check := func(path, table string) error {
		d, err := duckdb.NewFiles().Definition().OpenDestination(connectors.Config{Settings: fmt.Appendf(nil, `{"path": %q, "table": %q}`, path, table), Mode: connectors.ModeUpsert})
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		return d.(connectors.Checker).Check(t.Context())
	}
	fresh := filepath.Join(folder, "w.duckdb")
	if err := check(fresh, "all"); err != nil {
		t.Fatal(err)
	}
	if err := check(filepath.Join(folder, "to be", "made", "w.duckdb"), ""); err != nil {
		t.Fatal(err)
	}
	if entries, _ := os.ReadDir(folder); len(entries) > 0 {
		t.Fatalf("the check left %v", entries)
	}
	text := filepath.Join(folder, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 10_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	connectortest.WantError(t, check(text, ""), connectors.Invalid, "no DuckDB file")

	connectortest.WantError(t, check(filepath.Join(text, "w.duckdb"), ""), connectors.Forbidden, "can't be made")
}

// One table does not serve both modes.
func TestOtherMode(t *testing.T) {
	t.Parallel()
	files, path := duckdb.NewFiles(), filepath.Join(t.TempDir(), "w.duckdb")
	other := map[connectors.Mode]connectors.Mode{connectors.Append: connectors.ModeUpsert, connectors.ModeUpsert: connectors.Append}
	for mode, wrong := range other {
		d := open(t, files, path, mode)
		defer d.Close()
		b := batch(mode, string(mode), 0, 1)
		b.Lane = string(mode)
		write(t, d, b)
		b = batch(wrong, string(mode), 1, 1)
		b.Lane = string(mode)
		misused := open(t, files, path, wrong)
		defer misused.Close()
		_, err := misused.Write(t.Context(), b)
		connectortest.WantError(t, err, connectors.Invalid, "it was made for mode "+string(mode))
	}
}
