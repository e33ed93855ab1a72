package catalog_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tributary/internal/catalog"
	"tributary/internal/pgtest"
)

// onBoth runs a test on an empty SQLite catalog and on an empty PostgreSQL one.
func onBoth(t *testing.T, test func(t *testing.T, dsn string)) {
	t.Parallel()
	t.Run("sqlite", func(t *testing.T) {
		t.Parallel()
		test(t, filepath.Join(t.TempDir(), "catalog.db"))
	})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		test(t, pgtest.Database(t))
	})
}

func open(t *testing.T, dsn string) *catalog.Catalog {
	t.Helper()
	c, err := catalog.Open(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// raw opens the database without the catalog.
func raw(t *testing.T, dsn string) *sql.DB {
	t.Helper()
	driver := "sqlite"
	if strings.HasPrefix(dsn, "postgres://") {
		driver = "pgx"
	}
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t *testing.T, err, want error, mentions ...string) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want one that is %q", err, want)
	}
	for _, m := range mentions {
		if !strings.Contains(err.Error(), m) {
			t.Errorf("error %q does not mention %q", err, m)
		}
	}
}

// Many processes that start at once migrate an empty database exactly once.
func TestOpenAtOnce(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		var g errgroup.Group
		for range 8 {
			g.Go(func() error {
				c, err := catalog.Open(t.Context(), dsn)
				if err != nil {
					return err
				}
				return errors.Join(c.Ping(t.Context()), c.Close())
			})
		}
		must(t, g.Wait())
		var applied int
		must(t, raw(t, dsn).QueryRow(`SELECT count(*) FROM catalog_version`).Scan(&applied))
		files, err := os.ReadDir("migrations")
		must(t, err)
		if applied != len(files) {
			t.Errorf("%d migrations were applied, there are %d", applied, len(files))
		}
	})
}

// What was stored is there after a restart, and a database of a newer version is left alone.
func TestOpenAgain(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		c, err := catalog.Open(t.Context(), dsn)
		must(t, err)
		must(t, c.BindStore(t.Context(), "segments", "one"))
		must(t, c.Close())

		c, err = catalog.Open(t.Context(), dsn)
		must(t, err)
		wantErr(t, c.BindStore(t.Context(), "segments", "two"), catalog.ErrOtherStore, "one", "two")
		must(t, c.Close())

		_, err = raw(t, dsn).Exec(`INSERT INTO catalog_version (version, applied_at) VALUES (999, 0)`)
		must(t, err)
		c, err = catalog.Open(t.Context(), dsn)
		if err == nil {
			c.Close()
			t.Fatal("a database of version 999 was opened")
		}
		if !strings.Contains(err.Error(), "version 999") {
			t.Errorf("error does not name the version: %v", err)
		}
	})
}

// Writers of several processes on one database wait for each other: none fails, also not those that read first.
func TestManyWriters(t *testing.T) {
	onBoth(t, func(t *testing.T, dsn string) {
		_, err := open(t, dsn).SaveIntegration(t.Context(), spec("shop", ""))
		must(t, err)
		var g errgroup.Group
		for process := range 4 {
			c := open(t, dsn)
			for n := range 2 {
				g.Go(func() error {
					for i := range 10 {
						epoch := fmt.Sprint(process, n, i)
						if err := c.CreateInstallation(t.Context(), installation("shop/"+epoch, epoch)); err != nil {
							return err
						}
						if _, err := c.InstallationByEpoch(t.Context(), epoch); err != nil {
							return err
						}
					}
					return nil
				})
			}
		}
		must(t, g.Wait())
	})
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing", "catalog.db")
	for dsn, mention := range map[string]string{
		"":                     "no database given",
		"mysql://host/db":      "unknown kind of database",
		":memory:":             "in memory",
		"sqlite:":              "path of a file",
		missing:                "no such file",
		"postgres://h:port/db": "not valid",
	} {
		c, err := catalog.Open(t.Context(), dsn)
		if err == nil {
			c.Close()
			t.Errorf("%q was opened", dsn)
		} else if !strings.Contains(err.Error(), mention) {
			t.Errorf("%q: error %q does not say %q", dsn, err, mention)
		}
	}
}

// No error holds a password or a piece of one, also where an unescaped character moves it to another part of the URL.
func TestPasswordStaysOutOfErrors(t *testing.T) {
	t.Parallel()
	u, err := url.Parse(pgtest.Database(t))
	must(t, err)
	u.User = url.UserPassword(u.User.Username(), "canary")
	for _, dsn := range []string{
		u.String(), // refused by the server
		"postgres://user:canary@127.0.0.1:1/db?sslmode=disable", // nobody listens
		"postgres://user:canary@127.0.0.1:1/db?sslmode=canary",
		"postgres://127.0.0.1:1/db?password=canary&sslmode=disable",
		"postgres://user:pass@canary@127.0.0.1:1/db?sslmode=disable",
		"postgres://user:pass/canary@127.0.0.1:1/db?sslmode=disable",
		"postgres://user:12/canary@127.0.0.1:1/db?sslmode=disable",
		"postgres://user:12?canary=@127.0.0.1:1/db",
		"postgres://user:canary#@127.0.0.1:x/db",
		"postgres://user:canary%zz@127.0.0.1/db",
		"canary://user:canary@host/db",
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		c, err := catalog.Open(ctx, dsn)
		cancel()
		if err == nil {
			c.Close()
			t.Errorf("%q was opened", dsn)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: the error shows the password: %v", dsn, err)
		}
	}
}

// A path is a path, whatever is in it, and others can't read what is there.
func TestSQLiteFile(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "a b?c#d%41&e.db")
	c := open(t, "sqlite:"+path)
	must(t, c.BindStore(t.Context(), "segments", "one"))
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		must(t, err)
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %o", name, info.Mode().Perm())
		}
	}
	if _, err := os.Stat(filepath.Dir(path) + "/a b"); err == nil {
		t.Error("the path was cut")
	}
}

// While the database is down nothing is "not found", and afterwards the same Catalog works again.
func TestUnreachableIsNotMissing(t *testing.T) {
	t.Parallel()
	server := pgtest.StartServer(t)
	c := open(t, server.Database(t))
	i := install(t, c, "shop/ann", "epoch-1")
	server.Kill(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, err := c.InstallationByToken(ctx, i.TokenHash)
	if err == nil || errors.Is(err, catalog.ErrNotFound) {
		t.Fatalf("by token: got %v, want an error that is not ErrNotFound", err)
	}
	if err := c.Ping(ctx); err == nil {
		t.Fatal("ping succeeded")
	}
	server.Start(t)
	found, err := c.InstallationByToken(ctx, i.TokenHash)
	must(t, err)
	if found.Epoch != "epoch-1" {
		t.Errorf("found epoch %s", found.Epoch)
	}
}
