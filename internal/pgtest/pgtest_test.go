//go:build unix

package pgtest_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/internal/pgtest"
)

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

func TestDatabasesAreSeparate(t *testing.T) {
	t.Parallel()
	one, two := connect(t, pgtest.Database(t)), connect(t, pgtest.Database(t))
	for _, conn := range []*pgx.Conn{one, two} {
		if _, err := conn.Exec(t.Context(), `CREATE TABLE seen (n int)`); err != nil {
			t.Fatal(err)
		}
		var fsync string
		if err := conn.QueryRow(t.Context(), `SHOW fsync`).Scan(&fsync); err != nil || fsync != "on" {
			t.Fatalf("fsync is %q, %v", fsync, err)
		}
	}
}

// What was committed survives a stop and a crash, under the same URL.
func TestServerStopsAndRecovers(t *testing.T) {
	t.Parallel()
	s := pgtest.StartServer(t)
	dsn := s.Database(t)
	if _, err := connect(t, dsn).Exec(t.Context(), `CREATE TABLE kept AS SELECT 1 AS n`); err != nil {
		t.Fatal(err)
	}
	for name, end := range map[string]func(testing.TB){"stop": s.Stop, "kill": s.Kill} {
		end(t)
		if _, err := pgx.Connect(t.Context(), dsn); err == nil {
			t.Fatalf("%s: the server still answers", name)
		}
		s.Start(t)
		var n int
		if err := connect(t, dsn).QueryRow(t.Context(), `SELECT n FROM kept`).Scan(&n); err != nil || n != 1 {
			t.Fatalf("%s: got %d, %v", name, n, err)
		}
	}
}

// TestLeavesNothingBehind runs this test binary again as a process that starts a server and ends by a panic, by
// SIGKILL, and by SIGKILL while the server is still being made or started.
func TestLeavesNothingBehind(t *testing.T) {
	const env = "PGTEST_DIE"
	if end := os.Getenv(env); end != "" {
		s := pgtest.StartServer(t)
		config, err := pgx.ParseConfig(s.DSN("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\nserver on 127.0.0.1:%d\n", config.Port)
		if end == "panic" {
			go panic("as asked")
		}
		select {}
	}
	t.Parallel()
	for _, end := range []string{"panic", "kill", ".", "data", "data/base", "data/postmaster.pid"} {
		early := end != "panic" && end != "kill"
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			// Not t.TempDir: the server's user may not go into its parent.
			dir, err := os.MkdirTemp("", "pgtest-")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { os.RemoveAll(dir) })
			if err := os.Chmod(dir, 0o777); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0], "-test.run=^TestLeavesNothingBehind$")
			cmd.Env = append(os.Environ(), env+"="+end, "TMPDIR="+dir)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			address := ""
			if early {
				eventually(t, "there is "+end, func() bool {
					found, _ := filepath.Glob(filepath.Join(dir, "*", end))
					return len(found) == 1
				})
			} else {
				lines := bufio.NewScanner(out)
				for address == "" && lines.Scan() {
					if found, ok := strings.CutPrefix(lines.Text(), "server on "); ok {
						address = found
					}
				}
			}
			if end != "panic" {
				cmd.Process.Kill()
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
