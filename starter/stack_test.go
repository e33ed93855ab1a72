package main

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tributary/internal/demo"
	"tributary/internal/engine"
	"tributary/internal/sandbox"
)

// stack runs `starter dev` in a directory of its own and returns a shell whose commands find it.
func stack(t *testing.T) (*shell, engine.Addresses) {
	t.Helper()
	s := &shell{T: t, env: map[string]string{
		"TRIBUTARY_DIR": filepath.Join(t.TempDir(), "state"), "TRIBUTARY_LISTEN": "127.0.0.1:0", "TRIBUTARY_OPS_LISTEN": "127.0.0.1:0",
	}}
	ctx, interrupt := context.WithCancel(context.Background())
	out, in := io.Pipe()
	var said bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		code := run(ctx, words("dev", "--port", "0", "--ui-port", "0", "-o", "json"), streams{
			in: strings.NewReader(""), out: in, err: &said, getenv: func(name string) string { return s.env[name] },
		})
		in.CloseWithError(errors.New("starter dev has ended"))
		ended <- code
	}()
	t.Cleanup(func() {
		interrupt()
		if code := <-ended; code != exitOK {
			t.Errorf("starter dev ended with %d\n%s", code, said.String())
		}
	})
	var at engine.Addresses
	if err := json.NewDecoder(out).Decode(&at); err != nil {
		t.Fatalf("starter dev: %v", err)
	}
	return s, at
}

// eventually runs a command line with -o json until what it prints is as wanted.
func eventually[T any](s *shell, wanted func(T) bool, args ...string) (got T) {
	s.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got = *new(T)
		if s.object(&got, args...); wanted(got) {
			return got
		}
		if time.Now().After(deadline) {
			s.Fatalf("%v: not as wanted in a minute: %+v", args, got)
		}
	}
}

// push sends a webhook as GitHub does.
func push(t *testing.T, url, id, body string) int {
	t.Helper()
	mac := hmac.New(sha256.New, []byte(canary))
	mac.Write([]byte(body))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header = http.Header{
		"X-Hub-Signature-256": {"sha256=" + hex.EncodeToString(mac.Sum(nil))}, "X-Github-Event": {"push"}, "X-Github-Delivery": {id},
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// A realtime integration is installed and steered as a developer does it, on a stack that runs, and every command shows what it did.
func TestRealtimeByCommands(t *testing.T) {
	t.Parallel()
	s, _ := stack(t)
	var picky atomic.Bool
	picky.Store(true)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); picky.Load() && bytes.Contains(body, []byte("odd")) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	t.Cleanup(endpoint.Close)
	file := s.file("pushes.yaml", fmt.Sprintf(`
name: pushes
source: {connector: webhook, trigger: realtime, settings: {preset: github}, streams: [push]}
destinations:
  - {name: warehouse, connector: duckdb, hidden: true}
  - {name: company, connector: datastream, hidden: true, settings: {url: %q}}
`, endpoint.URL))

	s.want(exitOK, words("pushes"), "validate", file)
	r := s.want(exitFailed, words("starter connection set", "ada"), "install", file, "--user", "ada")
	if strings.Contains(r.err, "left in the app") {
		t.Errorf("no webhook was asked for yet: %s", r.err)
	}
	s.in = `{"secret": "` + canary + `"}`
	s.want(exitOK, words("user:ada"), "connection", "set", "webhook", "--user", "ada")
	s.want(exitOK, nil, "connection", "check", "webhook", "--user", "ada", "--settings", `{"preset": "github"}`)
	var in installed
	s.object(&in, "install", file, "--user", "ada")
	url := in.HookURL
	if in.ID != "pushes/ada" || url == "" || !in.Manual {
		t.Fatalf("got %+v", in)
	}
	s.want(exitExists, words("installed already", "status pushes/ada"), "install", file, "--user", "ada")

	settled := func(delivered int64) func(fullStatus) bool {
		return func(st fullStatus) bool { return st.Lag == 0 && st.Delivered+st.Held["company"] == delivered }
	}
	for i, body := range []string{`{"ref": "main", "size": 9007199254740993}`, `{"ref": "odd"}`} {
		if code := push(t, url, fmt.Sprint("d", i), body); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
	}
	eventually(s, settled(4), "status", "pushes/ada")
	s.want(exitOK, words("IN QUARANTINE", "company", "set up by hand"), "status", "pushes/ada")
	var rows []map[string]any
	s.object(&rows, "query", "SELECT data FROM push ORDER BY _ordinal")
	if len(rows) != 2 || rows[0]["data"] != `{"ref": "main", "size": 9007199254740993}` {
		t.Errorf("got %v", rows)
	}

	// What the endpoint refused is seen, delivered again and then no longer in quarantine.
	var held []struct {
		ID int64 `json:"id"`
	}
	if s.object(&held, "quarantine", "list", "pushes/ada"); len(held) != 1 {
		t.Fatalf("%d records in quarantine, want 1", len(held))
	}
	id := fmt.Sprint(held[0].ID)
	s.want(exitOK, words(`{"ref": "odd"}`, "422"), "quarantine", "show", id)
	picky.Store(false)
	s.want(exitOK, nil, "quarantine", "redeliver", "pushes/ada", id, "--lane", "company", "--wait")
	st := eventually(s, settled(4), "status", "pushes/ada")
	if len(st.Held) > 0 || st.Quarantined != 1 {
		t.Errorf("after the redelivery: holds %v, %d went to quarantine", st.Held, st.Quarantined)
	}

	// A paused installation takes webhooks and delivers them when it goes on.
	s.want(exitOK, words("paused"), "pause", "pushes/ada", "--wait")
	if code := push(t, url, "d2", `{"ref": "late"}`); code != http.StatusOK {
		t.Fatalf("status %d", code)
	}
	eventually(s, func(st fullStatus) bool { return st.Received == 3 && st.Lag == 1 }, "status", "pushes/ada")
	s.want(exitOK, words("resumed"), "resume", "pushes/ada", "--wait")
	eventually(s, settled(6), "status", "pushes/ada")
	s.want(exitOK, nil, "flush", "pushes/ada", "--wait")
	s.want(exitRefused, words("realtime"), "poll", "pushes/ada")
	s.want(exitRefused, words("realtime"), "backfill", "pushes/ada", "--since", "2026-01-01")

	// A test record goes the same way; one that is refused is discarded.
	picky.Store(true)
	s.in = `{"ref": "odd", "by": "hand"}`
	s.want(exitOK, nil, "send", "pushes/ada", "--stream", "push", "-")
	eventually(s, func(st fullStatus) bool { return st.Held["company"] == 1 }, "status", "pushes/ada")
	s.want(exitOK, nil, "quarantine", "discard", "pushes/ada", "--all", "--yes")
	s.want(exitOK, words("Nothing is in quarantine"), "quarantine", "list", "pushes/ada")

	s.want(exitOK, words("inactive", "1 installations paused"), "deactivate", "pushes")
	s.want(exitOK, words("integration deactivated"), "status", "pushes/ada")
	s.want(exitRefused, words("activate"), "install", "pushes", "--user", "bob")
	s.want(exitOK, words("1 installations resumed"), "activate", "pushes")
	s.want(exitOK, words("pushes/ada", "ok"), "list")

	s.in = `{"ref": "odd", "at": "last"}`
	s.want(exitOK, nil, "send", "pushes/ada", "--stream", "push", "-")
	eventually(s, func(st fullStatus) bool { return st.Held["company"] == 1 }, "status", "pushes/ada")
	s.want(exitOK, words("company: 3 delivered, 1 in quarantine", "warehouse: 5 delivered\n"), "uninstall", "pushes/ada")
	// The receiver learns of the end when it looks the installation up again; what it takes until then goes to quarantine.
	deadline := time.Now().Add(time.Minute)
	for i := 0; push(t, url, fmt.Sprint("late", i), `{}`) != http.StatusGone; i++ {
		if time.Now().After(deadline) {
			t.Fatal("the webhook of an ended installation is still taken after a minute, want 410")
		}
		time.Sleep(50 * time.Millisecond)
	}
	s.want(exitOK, words("Nothing is installed"), "list")
	s.want(exitNotFound, words("pushes/ada"), "status", "pushes/ada")
	s.want(exitOK, words("Deleted"), "connection", "delete", "webhook", "--user", "ada")
}

// A polling integration reads what is there, what comes and, told to, what was there.
func TestPollingByCommands(t *testing.T) {
	t.Parallel()
	s, at := stack(t)
	if at.UI == "" || at.Temporal == "" {
		t.Errorf("got %+v", at)
	}
	shop := sandbox.New(sandbox.Options{Seed: 1, Products: 30})
	t.Cleanup(shop.Close)
	site := httptest.NewServer(shop)
	t.Cleanup(site.Close)
	secret, err := json.Marshal(map[string]string{
		"shop": shop.Domain(), "access_token": shop.AccessToken(), "client_secret": shop.ClientSecret(), "admin_url": site.URL,
	})
	if err != nil {
		t.Fatal(err)
	}
	s.in = string(secret)
	s.want(exitOK, nil, "connection", "set", "shopify", "--user", "ada")
	s.want(exitOK, words("works"), "connection", "check", "shopify", "--user", "ada")
	file := s.file("products.yaml", `
name: products
source: {connector: shopify, trigger: {kind: polling, interval: 24h}, streams: [products]}
destinations: [{name: warehouse, connector: duckdb, hidden: true, mode: upsert}]
`)
	s.want(exitOK, words("Installed products/ada"), "install", file, "--user", "ada")
	finished := func(polls int64) func(fullStatus) bool {
		return func(st fullStatus) bool {
			return st.Lag == 0 && len(st.Streams) == 1 && st.Streams[0].Polls == polls && !st.Streams[0].Polling
		}
	}
	count := func() string {
		return s.want(exitOK, nil, "query", "-o", "csv", "SELECT count(*) FROM products").out
	}
	eventually(s, finished(1), "status", "products/ada")
	if got := count(); !strings.HasSuffix(strings.TrimSpace(got), "\n30") {
		t.Errorf("count: %q", got)
	}
	if err := shop.Generate(t.Context(), 0, 10, sandbox.Products); err != nil {
		t.Fatal(err)
	}
	s.want(exitOK, nil, "poll", "products/ada", "--wait")
	eventually(s, finished(2), "status", "products/ada")
	before := eventually(s, finished(2), "status", "products/ada").Received
	s.want(exitOK, nil, "backfill", "products/ada", "--all", "--wait")
	after := eventually(s, finished(3), "status", "products/ada").Received
	if after-before < 30 {
		t.Errorf("the backfill read %d records, want all 30 or more", after-before)
	}
	s.want(exitOK, words("STREAM", "products"), "status", "products/ada")
	s.want(exitOK, words("warehouse:"), "uninstall", "products/ada")
}

// The demo's exit status is that of what arrived, also where a destination lies.
func TestDemo(t *testing.T) {
	t.Parallel()
	for sabotage, wrong := range map[string]string{"": "", "drop": "missing", "alter": "changed", "double": "doubled"} {
		t.Run("sabotage "+sabotage, func(t *testing.T) {
			t.Parallel()
			s := &shell{T: t, env: map[string]string{"TRIBUTARY_DIR": filepath.Join(t.TempDir(), "demo")}}
			code := exitOK
			if sabotage != "" {
				code = exitMismatch
			}
			r := s.want(code, nil, "demo", "-o", "json", "--changes", "100", "--rate", "100", "--products", "300", "--ui-port", "0", "--sabotage", sabotage)
			var report demoResult
			if err := json.Unmarshal([]byte(r.out), &report); err != nil {
				t.Fatalf("%v\n%s", err, r.out)
			}
			found := map[string]int{}
			for _, tally := range []demo.Tally{report.Webhooks, report.Stream, report.Products} {
				found["missing"] += tally.Missing
				found["doubled"] += tally.Doubled
				found["changed"] += tally.Changed
			}
			if report.OK != (sabotage == "") || found[wrong] == 0 != (sabotage == "") || report.Killed != 1 || report.Products.Sent < 300 {
				t.Errorf("got %+v", report)
			}
		})
	}
}
