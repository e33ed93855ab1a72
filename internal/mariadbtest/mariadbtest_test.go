//go:build unix

package mariadbtest_test

import (
	"database/sql"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tributary/internal/mariadbtest"
)

func open(t *testing.T, rawURL string) *sql.DB {
	t.Helper()
	db, err := mariadbtest.Open(rawURL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	for range 2 {
		db := open(t, mariadbtest.Database(t))
		if _, err := db.ExecContext(t.Context(), "CREATE TABLE seen (n int)"); err != nil {
			t.Fatal(err)
		}
		var durable, local string
		if err := db.QueryRowContext(t.Context(), "SELECT @@innodb_flush_log_at_trx_commit, @@local_infile").Scan(&durable, &local); err != nil || durable != "1" || local != "1" {
			t.Fatalf("a commit is flushed: %s, loads: %s, %v", durable, local, err)
		}
	}
}

// TestLeavesNothingBehind runs this test binary again as a process that starts a server and ends by a panic, by SIGKILL, and by SIGKILL while the
// server's data is still being made.
func TestLeavesNothingBehind(t *testing.T) {
	const env = "MARIADBTEST_DIE"
	if end := os.Getenv(env); end != "" {
		u, err := url.Parse(mariadbtest.Database(t))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nserver on %s\n", u.Host)
		if end == "panic" {
			go panic("as asked")
		}
		select {}
	}
	t.Parallel()
	for _, end := range []string{"panic", "kill", "data"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			// Not t.TempDir: the server's user may not go into its parent.
			dir, err := os.MkdirTemp("", "mariadbtest-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			out, err := os.Create(filepath.Join(t.TempDir(), "out"))
			if err != nil {
				t.Fatal(err)
			}
			defer out.Close()
			cmd := exec.Command(os.Args[0], "-test.run=^TestLeavesNothingBehind$")
			cmd.Env = append(os.Environ(), env+"="+end, "TMPDIR="+dir, mariadbtest.Env+"=")
			cmd.Stdout = out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			address := ""
			if end == "data" {
				eventually(t, "there is "+end, func() bool {
					found, _ := filepath.Glob(filepath.Join(dir, "*", end, "*"))
					return len(found) > 0
				})
			} else {
				eventually(t, "the server's address", func() bool {
					text, _ := os.ReadFile(out.Name())
					_, after, _ := strings.Cut(string(text), "server on ")
					line, _, whole := strings.Cut(after, "\n")
					address = line
					return whole
				})
			}
			if end != "panic" {
				_ = cmd.Process.Kill() // Wait tells
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the process should have died")
			}
			eventually(t, "the folder is empty", func() bool {
				left, err := os.ReadDir(dir)
				return err == nil && len(left) == 0
			})
			if address == "" {
				return
			}
			eventually(t, "nobody listens", func() bool {
				conn, err := net.Dial("tcp", address)
				if err == nil {
					conn.Close()
				}
				return err != nil
			})
		})
	}
}

func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !happened(); <-tick.C {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
