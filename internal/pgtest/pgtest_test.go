//go:build unix

package pgtest_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
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

// TestLeavesNothingBehind runs this test binary again as a process that starts a server and dies by a panic, and
// by SIGKILL.
func TestLeavesNothingBehind(t *testing.T) {
	const env = "PGTEST_DIE"
	if end := os.Getenv(env); end != "" {
		s := pgtest.StartServer(t)
		var folder string
		if err := connect(t, s.DSN("postgres")).QueryRow(t.Context(), `SHOW data_directory`).Scan(&folder); err != nil {
			t.Fatal(err)
		}
		config, err := pgx.ParseConfig(s.DSN("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("\n%s 127.0.0.1:%d\n", folder, config.Port)
		if end == "panic" {
			go panic("as asked")
		}
		select {}
	}
	for _, end := range []string{"panic", "kill"} {
		t.Run(end, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0], "-test.run=^TestLeavesNothingBehind$")
			cmd.Env = append(os.Environ(), env+"="+end)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var folder, address string
			for folder == "" || !strings.HasPrefix(folder, "/") {
				if _, err := fmt.Fscanln(out, &folder, &address); err != nil && err.Error() == "EOF" {
					t.Fatal("the process ended before its server ran")
				}
			}
			if end == "kill" {
				cmd.Process.Kill()
			}
			if err := cmd.Wait(); err == nil {
				t.Fatal("the process should have died")
			}
			deadline := time.Now().Add(30 * time.Second)
			for {
				_, statErr := os.Stat(strings.TrimSuffix(folder, "/data"))
				conn, dialErr := net.Dial("tcp", address)
				if dialErr == nil {
					conn.Close()
				}
				if errors.Is(statErr, os.ErrNotExist) && dialErr != nil {
					return
				}
				if time.Now().After(deadline) {
					t.Fatalf("left behind: folder %s (%v), server (%v)", folder, statErr, dialErr)
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
	}
}
