//go:build unix

// Package mariadbtest gives tests a real MariaDB.
//
// The server is a private instance in a temporary folder on a free port, run by an unprivileged user where the test runs as root, and
// shared by the tests of a process. Nothing of it outlives the process, however that ends. A missing MariaDB fails the test: it is never skipped.
package mariadbtest

import (
	"context"
	"crypto/rand"
	"database/sql"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// Env names the environment variable with the URL (mysql://user:password@host:port/database) of an existing MariaDB to use instead of a private
// one. Its user must be allowed to make databases and users, and its local_infile be on.
const Env = "TRIBUTARY_TEST_MARIADB"

// shared is the server of the test process; its end is left to its reaper.
var shared = sync.OnceValues(func() (*server, error) { return launch(nil) })

// Database makes an empty database for the test and returns its URL, which has no parameters. It is dropped when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	if admin := os.Getenv(Env); admin != "" {
		return On(t, admin)
	}
	s, err := shared()
	if err != nil {
		t.Fatalf("mariadbtest: %v", err)
	}
	return On(t, s.url())
}

// TLS starts a server of the test's own, which speaks TLS too, and returns the URL of a database on it. Its certificate and key are PEM.
func TLS(t testing.TB, certificate, key []byte) string {
	t.Helper()
	s, err := launch(map[string][]byte{"certificate": certificate, "key": key}, "--ssl-cert=../certificate", "--ssl-key=../key")
	if err != nil {
		t.Fatalf("mariadbtest: %v", err)
	}
	t.Cleanup(s.close)
	return On(t, s.url())
}

// On makes an empty database on the server of an administrator's URL, which may be a MySQL.
func On(t testing.TB, admin string) string {
	t.Helper()
	u, err := url.Parse(admin)
	if err != nil || u.Scheme != "mysql" && u.Scheme != "mariadb" {
		t.Fatal("mariadbtest: want a URL such as mysql://user:password@host:3306/mysql")
	}
	name := "test_" + strings.ToLower(rand.Text())
	if err := execute(admin, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("mariadbtest: create database: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(admin, "DROP DATABASE "+name); err != nil {
			t.Logf("mariadbtest: drop database: %v", err)
		}
	})
	u.Path, u.RawQuery = "/"+name, ""
	return u.String()
}

// Open connects to a database by its URL. Texts come as UTF-8, times in UTC as the server writes them. Who calls it closes it.
func Open(rawURL string) (*sql.DB, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	c := mysql.NewConfig()
	c.User = u.User.Username()
	c.Passwd, _ = u.User.Password()
	c.Net, c.Addr, c.DBName = "tcp", u.Host, strings.TrimPrefix(u.Path, "/")
	c.Params = map[string]string{"time_zone": "'+00:00'"}
	c.Logger = &mysql.NopLogger{}
	if err := c.Apply(mysql.Charset("utf8mb4", "")); err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector), nil
}

func execute(rawURL, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	db, err := Open(rawURL)
	if err != nil {
		return err
	}
	defer db.Close()
	_, err = db.ExecContext(ctx, statement)
	return err
}
