//go:build unix

// Package pgtest gives tests a real PostgreSQL.
//
// Database serves most tests: a database of their own on a server that the test process shares. A test that
// stops or crashes the server starts its own with StartServer.
//
// Servers are private instances in temporary folders on free ports, with fsync on, run by an unprivileged user
// where the test runs as root. Nothing of them outlives the test process, however that ends. A missing PostgreSQL
// fails the test: it is never skipped.
package pgtest

import (
	"context"
	"crypto/rand"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Env names the environment variable with the URL (postgres://...) of an existing server to use for Database instead
// of a private one. Its user must be allowed to create databases.
const Env = "TRIBUTARY_TEST_POSTGRES"

// shared is the server of the test process; its end is left to its reaper.
var shared = sync.OnceValues(func() (*Server, error) { return Launch() })

// Database makes an empty database for the test and returns its URL. It is dropped when the test ends.
func Database(t testing.TB) string {
	t.Helper()
	if dsn := os.Getenv(Env); dsn != "" {
		return create(t, dsn)
	}
	s, err := shared()
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s.Database(t)
}

// create makes a database on the server of the admin URL.
func create(t testing.TB, admin string) string {
	t.Helper()
	u, err := url.Parse(admin)
	if err != nil || (u.Scheme != "postgres" && u.Scheme != "postgresql") {
		t.Fatalf("pgtest: $%s must be a URL such as postgres://user:password@host:5432/postgres", Env)
	}
	name := "test_" + strings.ToLower(rand.Text())
	if err := execute(admin, "CREATE DATABASE "+name); err != nil {
		t.Fatalf("pgtest: create database: %v", err)
	}
	t.Cleanup(func() {
		// A server that the test left stopped takes its databases with it.
		if err := execute(admin, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Logf("pgtest: drop database: %v", err)
		}
	})
	u.Path = "/" + name
	return u.String()
}

func execute(dsn, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, statement)
	return err
}
