//go:build unix

package pgtest

import (
	"crypto/rand"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
)

const superuser = "tributary"

// Server is a private PostgreSQL.
type Server struct {
	bin      string // folder of the server's programs
	dir      string
	port     int
	password string
	settings []string            // name=value
	account  *syscall.Credential // nil = that of the test
	reaper   *exec.Cmd
	leash    *os.File // the reaper acts when this closes
}

// StartServer starts a server for the test alone, which ends with the test.
func StartServer(t testing.TB) *Server {
	t.Helper()
	s, err := Launch()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	t.Cleanup(s.Close)
	return s
}

// DSN is the URL of a database of the server; "postgres" always exists. It stays the same over Stop and Start.
func (s *Server) DSN(database string) string {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.password),
		Host:     net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)),
		Path:     "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Database makes an empty database on the server and returns its URL.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	return create(t, s.DSN("postgres"))
}

// Start starts a server that Stop or Kill ended, on the same port with the same data.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
}

// Stop ends connections and shuts the server down in order.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.stop(t, "fast")
}

// Kill makes the server's processes quit on the spot. What was committed is recovered from the log by Start, as
// after a crash; unlike SIGKILL it leaves no shared memory behind.
func (s *Server) Kill(t testing.TB) {
	t.Helper()
	s.stop(t, "immediate")
}

func (s *Server) stop(t testing.TB, mode string) {
	t.Helper()
	if err := s.run("pg_ctl", "-D", s.data(), "-w", "-m", mode, "stop"); err != nil {
		t.Fatalf("pgtest: %v", err)
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Launch makes and starts a server on a free port, for a program that is no test. It ends with Close or with the process.
// Settings are those of postgresql.conf, as name=value without spaces.
func Launch(settings ...string) (_ *Server, err error) {
	s := &Server{password: rand.Text(), settings: settings}
	if s.bin, err = programs(); err != nil {
		return nil, err
	}
	if s.account, err = unprivileged(); err != nil {
		return nil, err
	}
	s.dir = filepath.Join(os.TempDir(), "tributary-postgres-"+rand.Text())
	if err := s.guard(); err != nil {
		return nil, err
	}
	if err := s.initialize(); err != nil {
		s.Close()
		return nil, err
	}
	// Between finding a free port and using it another process may take it.
	for range 5 {
		if s.port, err = freePort(); err != nil {
			break
		}
		if err = s.start(); err == nil {
			return s, nil
		}
	}
	s.Close()
	return nil, err
}

// guard starts the reaper: a shell that makes the server's folder and waits for the test process to end, for whatever
// reason. Then it stops the server and removes the folder, again and again while an initdb that was cut off still
// writes there. It is a session of its own, out of reach of the terminal's signals.
func (s *Server) guard() error {
	end, leash, err := os.Pipe()
	if err != nil {
		return err
	}
	defer end.Close()
	const script = `trap "" PIPE; mkdir -m 700 "$2" || exit; echo made; read -r _
		while [ -e "$2" ]; do "$1" -D "$2/data" -w -m immediate stop; rm -rf "$2" || sleep 0.1; done`
	s.reaper = s.command("/bin/sh", "-c", script, "reaper", filepath.Join(s.bin, "pg_ctl"), s.dir)
	s.reaper.Dir = "/"
	s.reaper.Stdin = end
	s.reaper.SysProcAttr.Setsid = true
	made, err := s.reaper.StdoutPipe()
	if err != nil {
		leash.Close()
		return err
	}
	if err := s.reaper.Start(); err != nil {
		leash.Close()
		return fmt.Errorf("start reaper: %w", err)
	}
	s.leash = leash
	var answer string
	if _, err := fmt.Fscanln(made, &answer); err != nil {
		s.Close()
		return fmt.Errorf("the user that runs the server can't make %s", s.dir)
	}
	return nil
}

// Close ends the server and waits until nothing of it is left.
func (s *Server) Close() {
	s.leash.Close()
	s.reaper.Wait()
}

func (s *Server) initialize() error {
	secret := filepath.Join(s.dir, "password")
	if err := os.WriteFile(secret, []byte(s.password), 0o600); err != nil {
		return err
	}
	if s.account != nil {
		if err := os.Chown(secret, int(s.account.Uid), int(s.account.Gid)); err != nil {
			return err
		}
	}
	return s.run("initdb", "-D", s.data(), "--username="+superuser, "--pwfile="+secret, "--auth=scram-sha-256",
		"--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")
}

func (s *Server) start() error {
	options := fmt.Sprintf("-c port=%d -c listen_addresses=127.0.0.1 -c unix_socket_directories= "+
		"-c fsync=on -c synchronous_commit=on -c max_connections=500 -c timezone=UTC", s.port)
	for _, setting := range s.settings {
		options += " -c " + setting
	}
	log := filepath.Join(s.dir, "log")
	if err := s.run("pg_ctl", "-D", s.data(), "-w", "-t", "60", "-l", log, "-o", options, "start"); err != nil {
		text, _ := os.ReadFile(log)
		return fmt.Errorf("%w\n%s", err, text[max(0, len(text)-2000):])
	}
	return nil
}

func (s *Server) run(program string, args ...string) error {
	out, err := s.command(filepath.Join(s.bin, program), args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", program, err, out)
	}
	return nil
}

// command runs with a plain environment: PGPORT and the like would change what the programs do.
func (s *Server) command(path string, args ...string) *exec.Cmd {
	c := exec.Command(path, args...)
	c.Dir = s.dir
	c.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"}
	c.SysProcAttr = &syscall.SysProcAttr{Credential: s.account}
	return c
}

// programs finds the folder of initdb, pg_ctl and postgres; of several installed versions the newest.
func programs() (string, error) {
	var folders []string
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(path))
		}
	}
	for _, pattern := range []string{"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/opt/homebrew/opt/postgresql@*/bin"} {
		found, _ := filepath.Glob(pattern)
		slices.Sort(found)
		slices.Reverse(found)
		folders = append(folders, found...)
	}
	for _, dir := range folders {
		missing := slices.ContainsFunc([]string{"initdb", "pg_ctl", "postgres"}, func(name string) bool {
			_, err := exec.LookPath(filepath.Join(dir, name))
			return err != nil
		})
		if !missing {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no PostgreSQL server found: run `apt-get install postgresql`, put initdb on PATH, or set $%s to the URL of a server", Env)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
