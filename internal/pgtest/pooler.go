//go:build unix

package pgtest

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Pooler puts a PgBouncer in front of a database until the test ends, in transaction mode: a client has a session of the server for one transaction, and there
// are as many sessions as told for all of them. It returns the URL to reach the database by. https://www.pgbouncer.org/config.html
func Pooler(t testing.TB, dsn string, sessions int) string {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer" // Debian's, which is not on the path of everybody
	}
	server, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	account, err := unprivileged()
	if err != nil {
		t.Fatal(err)
	}
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: PgBouncer does not run as root, and its user may not go into that one's parent.
	dir, err := os.MkdirTemp("", "tributary-pgbouncer-")
	if err != nil {
		t.Fatal(err)
	}
	password, _ := server.User.Password()
	config := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=%s port=%s user=%s password=%s\n[pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port=%d\nunix_socket_dir=\nauth_type=any\n"+
		"server_tls_sslmode=prefer\npool_mode=transaction\ndefault_pool_size=%d\n", server.Hostname(), server.Port(), server.User.Username(), password, port, sessions)
	if err := errors.Join(os.WriteFile(config, []byte(text), 0o644), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	// The shell ends PgBouncer when the pipe closes, however the test's process ends.
	leashed, leash, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	shell := exec.Command("/bin/sh", "-c", `"$1" "$2" & read -r _; kill -9 $!; wait`, "pooler", program, config)
	shell.Stdin, shell.Stdout, shell.Stderr = leashed, &log, &log
	shell.SysProcAttr = &syscall.SysProcAttr{Credential: account, Setsid: true}
	err = shell.Start()
	leashed.Close()
	ended := make(chan struct{})
	t.Cleanup(func() {
		leash.Close()
		if err == nil {
			<-ended
		}
		os.RemoveAll(dir)
	})
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = shell.Wait()
		close(ended)
	}()
	through := *server
	through.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(30 * time.Second); ; <-tick.C {
		if err = execute(through.String(), "SELECT 1"); err == nil {
			return through.String()
		}
		if time.Now().After(deadline) {
			leash.Close()
			<-ended
			t.Fatalf("PgBouncer does not answer, install it (`apt-get install pgbouncer`): %v\n%s", err, log.String())
		}
	}
}
