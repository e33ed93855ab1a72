//go:build unix

package mariadbtest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// server is a private MariaDB.
type server struct {
	dir      string
	port     int
	password string
	reaper   *exec.Cmd
	leash    *os.File // the reaper acts when this closes
}

func (s *server) url() string {
	u := url.URL{Scheme: "mysql", User: url.UserPassword("tributary", s.password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)), Path: "/mysql"}
	return u.String()
}

// script is that of the reaper: it makes the folder, the data and the server in it, and waits for the test process to end, for whatever reason. Then it
// ends the server on the spot and removes the folder. The server is its child, so what it ends is the server and nothing else. A starting server
// removes temporary tables that it finds, so it has a folder of its own for them. It is a session of its own, out of reach of the terminal's signals.
const script = `trap "" PIPE
install=$1 server=$2 dir=$3 port=$4
shift 4
mkdir -m 700 "$dir" "$dir/tmp" || exit
echo made
read -r password
"$install" --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --auth-root-authentication-method=normal --skip-test-db >"$dir/log" 2>&1 || { rm -rf "$dir"; exit; }
cat >"$dir/user.sql" <<-end
	CREATE USER tributary@'%' IDENTIFIED BY '$password';
	GRANT ALL ON *.* TO tributary@'%' WITH GRANT OPTION;
end
"$server" --no-defaults --datadir="$dir/data" --tmpdir="$dir/tmp" --port="$port" --bind-address=127.0.0.1 --socket="$dir/socket" --pid-file="$dir/pid" --init-file="$dir/user.sql" --local-infile=1 \
	--skip-name-resolve --max-connections=500 --innodb-buffer-pool-size=256M --character-set-server=utf8mb4 "$@" >>"$dir/log" 2>&1 &
echo started
read -r _
kill -9 $!
wait
rm -rf "$dir"`

// launch makes and starts a server on a free port, with more options, and with files in the folder above its data.
func launch(files map[string][]byte, options ...string) (*server, error) {
	install, err := program("mariadb-install-db")
	if err != nil {
		return nil, err
	}
	daemon, err := program("mariadbd")
	if err != nil {
		return nil, err
	}
	account, err := unprivileged()
	if err != nil {
		return nil, err
	}
	s := &server{password: rand.Text(), dir: filepath.Join(os.TempDir(), "tributary-mariadb-"+rand.Text())}
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	end, leash, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer end.Close()
	s.leash = leash
	s.reaper = exec.Command("/bin/sh", "-c", script, "reaper", install, daemon, s.dir, strconv.Itoa(s.port))
	s.reaper.Args = append(s.reaper.Args, options...)
	s.reaper.Dir = "/"
	// A plain environment: MYSQL_HOME and the like would change what the programs do.
	s.reaper.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", "TZ=UTC"}
	s.reaper.SysProcAttr = &syscall.SysProcAttr{Credential: account, Setsid: true}
	s.reaper.Stdin = end
	said, err := s.reaper.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.reaper.Start(); err != nil {
		return nil, fmt.Errorf("start reaper: %w", err)
	}
	var word string
	if _, err := fmt.Fscanln(said, &word); err != nil {
		s.close()
		return nil, fmt.Errorf("the user that runs the server can't make %s", s.dir)
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), data, 0o644); err != nil { // the server may be another user
			s.close()
			return nil, err
		}
	}
	// The password goes by no command line.
	if _, err := fmt.Fprintln(leash, s.password); err != nil {
		s.close()
		return nil, err
	}
	if _, err := fmt.Fscanln(said, &word); err != nil || word != "started" {
		s.close()
		return nil, errors.New("mariadb-install-db failed")
	}
	if err := s.await(); err != nil {
		text, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		s.close()
		return nil, fmt.Errorf("%w\n%s", err, text[max(0, len(text)-2000):])
	}
	return s, nil
}

// await returns when the server lets the user in.
func (s *server) await() (err error) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); <-tick.C {
		if err = execute(s.url(), "DO 1"); err == nil {
			return nil
		}
	}
	return fmt.Errorf("mariadbd does not answer: %w", err)
}

// close ends the server and waits until nothing of it is left.
func (s *server) close() {
	s.leash.Close()
	_ = s.reaper.Wait() // it ends when the leash does
}

func program(name string) (string, error) {
	for _, path := range []string{name, "/usr/sbin/" + name, "/usr/libexec/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found, nil
		}
	}
	return "", fmt.Errorf("no %s found: run `apt-get install mariadb-server`, or set $%s to the URL of a server", name, Env)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
