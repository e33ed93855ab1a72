package block_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/vault"
)

// These variables turn this test binary into a worker that dies when the app has answered it and nothing is stored.
const (
	childCatalog  = "TRIBUTARY_BLOCK_TEST_CATALOG"
	childKeyFile  = "TRIBUTARY_BLOCK_TEST_KEY_FILE"
	childEndpoint = "TRIBUTARY_BLOCK_TEST_ENDPOINT"
)

func renewAndDie() {
	fail := func(err error) {
		fmt.Println("did not die:", err)
		os.Exit(1)
	}
	ctx := context.Background()
	c, err := catalog.Open(ctx, os.Getenv(childCatalog))
	if err != nil {
		fail(err)
	}
	keys, err := vault.Open(c, os.Getenv(childKeyFile))
	if err != nil {
		fail(err)
	}
	def := definition(os.Getenv(childEndpoint), http.DefaultTransport)
	renew := def.Renewal.Renew
	def.Renewal.Renew = func(ctx context.Context, cfg connectors.Config) (json.RawMessage, error) {
		secret, err := renew(ctx, cfg)
		if err == nil {
			err = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
		return secret, err
	}
	reg, err := connectors.NewRegistry(def)
	if err != nil {
		fail(err)
	}
	// By its clock the token has expired.
	late := func() time.Time { return time.Now().Add(lifetime) }
	o := block.New(reg, c, keys, connectors.Env{Log: slog.New(slog.NewTextHandler(os.Stdout, nil)), Now: late})
	fail(o.CheckConnection(ctx, vault.User("ada"), "crm", "default", nil))
}

// killWhileRenewing has another process take the lease, exchange the refresh token, and die before it stores what it got.
func (v *town) killWhileRenewing(t *testing.T) {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childCatalog+"="+v.dsn, childKeyFile+"="+v.keyFile, childEndpoint+"="+v.URL)
	out, err := child.CombinedOutput()
	if status, ok := child.ProcessState.Sys().(syscall.WaitStatus); !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the other process was not killed: %v\n%s", err, out)
	}
	if strings.Contains(string(out), secretMark) {
		t.Errorf("it shows a secret:\n%s", out)
	}
	if exchanges, _ := v.counts(); exchanges != 1 {
		t.Fatalf("%d exchanges", exchanges)
	}
	if a, _ := v.stored(t); a.RefreshToken == v.account().RefreshToken {
		t.Fatal("it has stored what it got")
	}
}

// A worker dies between exchange and storing. The others are kept off as long as it might live, and hear when to come again; then one
// takes over with the old refresh token, which an app with a leeway accepts.
func TestKilledBetweenExchangeAndStore(t *testing.T) {
	onBoth(t, func(t *testing.T, v *town) {
		v.leeway = 10 * time.Minute
		v.clock.advance(lifetime)
		v.killWhileRenewing(t)
		workers := v.workers(t, 3)
		for _, w := range workers {
			w.SetPatience(300 * time.Millisecond)
			_, err := v.use(t.Context(), w)
			want(t, err, connectors.Unavailable, "another worker is renewing")
			if e := connectors.AsError("", err); e.Wait == 0 {
				t.Error("it does not say when to come again")
			}
		}
		if exchanges, refused := v.counts(); exchanges != 1 || refused != 0 {
			t.Fatalf("within the dead worker's lease: %d exchanges, %d refused", exchanges, refused)
		}
		v.clock.advance(block.RenewLease + time.Minute)
		for _, w := range workers {
			w.SetPatience(10 * time.Second)
			token, err := v.use(t.Context(), w)
			must(t, err)
			if !v.accepts(token) {
				t.Error("the token does not work")
			}
		}
		if exchanges, refused := v.counts(); exchanges != 2 || refused != 0 {
			t.Errorf("%d exchanges, %d refused", exchanges, refused)
		}
	})
}

// The same with an app that has no leeway: the user is asked to connect again, once that is sure, and it goes on from there.
func TestKilledWithoutLeeway(t *testing.T) {
	t.Parallel()
	v := newTown(t, t.TempDir()+"/catalog.db")
	v.killWhileRenewing(t)
	w := v.worker(t)
	// The old token works still: nobody notices.
	v.clock.advance(lifetime - lifetime/4)
	_, err := v.use(t.Context(), w)
	must(t, err)
	v.clock.advance(lifetime + block.RenewLease)
	_, err = v.use(t.Context(), w)
	want(t, err, connectors.Unauthorized, "connect the account again")
	v.set(v.issue)
	v.store(t, v.account())
	token, err := v.use(t.Context(), w)
	must(t, err)
	if !v.accepts(token) {
		t.Error("the token does not work")
	}
}

// A catalog that refuses to store between exchange and storing is asked until it does, also when whoever opened the block has long gone;
// nobody uses the new token before.
func TestStoredWhenCatalogIsBack(t *testing.T) {
	t.Parallel()
	v := newTown(t, t.TempDir()+"/catalog.db")
	w := v.worker(t)
	w.SetPatience(200 * time.Millisecond)
	raw, err := sql.Open("sqlite", v.dsn)
	must(t, err)
	defer raw.Close()
	exec := func(statement string) {
		_, err := raw.Exec(statement)
		must(t, err)
	}
	v.set(func() {
		v.rotated = func() {
			exec(`CREATE TRIGGER broken BEFORE UPDATE ON connections BEGIN SELECT RAISE(ABORT, 'the disk is full'); END`)
		}
	})
	v.clock.advance(lifetime)
	_, err = v.use(t.Context(), w)
	want(t, err, connectors.Unavailable)
	// Another worker does not come between, although the lease would have ended: it is extended.
	eventually(t, "storing is tried again", func() bool { return strings.Count(v.log.String(), "store a renewed connection") >= 3 })
	other := v.worker(t)
	other.SetPatience(200 * time.Millisecond)
	v.clock.advance(block.RenewLease - time.Second)
	tried := strings.Count(v.log.String(), "store a renewed connection")
	eventually(t, "the lease is extended", func() bool { return strings.Count(v.log.String(), "store a renewed connection") > tried+1 })
	v.clock.advance(2 * time.Second)
	_, err = v.use(t.Context(), other)
	want(t, err, connectors.Unavailable, "another worker is renewing")
	exec(`DROP TRIGGER broken`)
	for _, w := range []*block.Opener{w, other} {
		eventually(t, "it is stored and used", func() bool {
			token, err := v.use(t.Context(), w)
			return err == nil && v.accepts(token)
		})
		v.clock.advance(2 * time.Second)
	}
	if exchanges, refused := v.counts(); exchanges != 1 || refused != 0 {
		t.Errorf("%d exchanges, %d refused", exchanges, refused)
	}
}
