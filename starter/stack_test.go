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
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	sdkpb "go.temporal.io/api/sdk/v1"
	"go.temporal.io/sdk/converter"

	"tributary/internal/demo"
	"tributary/internal/engine"
	"tributary/internal/integration"
	"tributary/internal/sandbox"
)

// page reads what the Temporal UI shows of a workflow: its current details, with a description of each Update, and the summary of its latest timer.
func page(t *testing.T, at engine.Addresses, id string) (details string, updates map[string]string, timer string) {
	t.Helper()
	c, err := at.Dial(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	v, err := c.QueryWorkflow(t.Context(), id, "", "__temporal_workflow_metadata")
	if err != nil {
		t.Fatal(err)
	}
	var meta sdkpb.WorkflowMetadata
	if err := v.Get(&meta); err != nil {
		t.Fatal(err)
	}
	updates = map[string]string{}
	for _, u := range meta.Definition.UpdateDefinitions {
		updates[u.Name] = u.Description
	}
	for events := c.GetWorkflowHistory(t.Context(), id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); events.HasNext(); {
		e, err := events.Next()
		if err != nil {
			t.Fatal(err)
		}
		if e.EventType == enums.EVENT_TYPE_TIMER_STARTED {
			if err := converter.GetDefaultDataConverter().FromPayload(e.GetUserMetadata().GetSummary(), &timer); err != nil {
				t.Fatal(err)
			}
		}
	}
	return meta.CurrentDetails, updates, timer
}

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

// pushes is a file of an integration that sends GitHub's pushes to the warehouse and to an endpoint.
func (s *shell) pushes(endpoint string) string {
	s.Helper()
	return s.file("pushes.yaml", fmt.Sprintf(`
name: pushes
source: {connector: webhook, trigger: realtime, settings: {preset: github}, streams: [push]}
destinations:
  - {name: warehouse, connector: duckdb, hidden: true}
  - {name: company, connector: datastream, hidden: true, settings: {url: %q}}
`, endpoint))
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
	s, at := stack(t)
	s.want(exitExists, words("runs in", at.Temporal), "dev")
	var picky atomic.Bool
	picky.Store(true)
	endpoint := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); picky.Load() && bytes.Contains(body, []byte("odd")) {
			w.WriteHeader(http.StatusUnprocessableEntity)
		}
	}))
	t.Cleanup(endpoint.Close)
	file := s.pushes(endpoint.URL)

	s.want(exitOK, words("pushes"), "validate", file)
	r := s.want(exitFailed, words("starter connection set", "ada", "install again"), "install", file, "--user", "ada")
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
	s.want(exitNotFound, words("makes it with its first batch"), "query", "SELECT 1")

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
	for range 2 { // the second time it is known to be done, though the record is held no more
		s.want(exitOK, nil, "quarantine", "redeliver", "pushes/ada", id, "--lane", "company", "--wait", "--operation", "mended")
	}
	st := eventually(s, settled(4), "status", "pushes/ada")
	details, updates, timer := page(t, at, "pushes/ada")
	if !strings.Contains(details, "Revision 1, realtime of push. Received 2 records.") || timer == "" || timer == "next due" {
		t.Errorf("the page shows %q, and of the timer %q", details, timer)
	}
	if d := updates["flush"]; len(updates) != 8 || d == "" || d == "flush" {
		t.Errorf("the page shows the Updates %v", updates)
	}
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

	s.want(exitOK, words("inactive", "1 installation paused"), "deactivate", "pushes")
	s.want(exitOK, words("integration deactivated"), "status", "pushes/ada")
	s.want(exitRefused, words("starter activate pushes"), "install", "pushes", "--user", "bob")
	if code := push(t, url, "d3", `{"ref": "held"}`); code != http.StatusOK {
		t.Errorf("status %d of what comes while it is deactivated", code)
	}
	s.want(exitOK, words("1 installation resumed"), "activate", "pushes")
	s.want(exitOK, words("pushes/ada", "ok"), "list")

	s.in = `{"ref": "odd", "at": "last"}`
	s.want(exitOK, nil, "send", "pushes/ada", "--stream", "push", "-")
	eventually(s, func(st fullStatus) bool { return st.Held["company"] == 1 }, "status", "pushes/ada")
	s.want(exitOK, words("company: 4 delivered, 1 in quarantine", "warehouse: 6 delivered\n"), "uninstall", "pushes/ada")
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

// An install that waits says for what, also to who asks meanwhile, and goes on when the command is interrupted.
func TestInstallThatWaits(t *testing.T) {
	t.Parallel()
	s, _ := stack(t)
	closed := httptest.NewServer(nil)
	closed.Close()
	s.in = `{"secret": "` + canary + `"}`
	s.want(exitOK, nil, "connection", "set", "webhook", "--user", "ada")
	file := s.file("pushes.yaml", fmt.Sprintf(`
name: pushes
source: {connector: webhook, trigger: realtime, settings: {preset: github}, streams: [push]}
destinations: [{name: company, connector: datastream, hidden: true, settings: {url: %q}}]
`, closed.URL))
	s.in = badFile
	refused := s.want(exitUsage, words("nothing was installed"), "install", "-", "--user", "ada", "-o", "json")
	var e struct {
		Error struct{ Problems integration.Problems }
	}
	if err := json.Unmarshal([]byte(refused.err), &e); err != nil || len(e.Error.Problems) < 4 || e.Error.Problems[0].Line != 1 {
		t.Errorf("%v: %s", err, refused.err)
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan result, 1)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	s.in = string(text)
	go func() { ended <- s.runContext(ctx, "install", "-", "--user", "ada") }()
	eventually(s, func(all []map[string]any) bool { return len(all) == 1 }, "list")
	const problem = "destination company: connect: the host refuses connections"
	eventually(s, func(st fullStatus) bool { return strings.Contains(st.Problem, problem) }, "status", "pushes/ada")
	s.want(exitOK, words("degraded, being installed: "+problem), "status", "pushes/ada")
	time.AfterFunc(time.Second, interrupt) // the command looks ten times a second
	r := <-ended
	if r.code != exitInterrupted || !strings.Contains(r.err, "tried again: "+problem) || !strings.Contains(r.err, "interrupted; pushes/ada was started and goes on") {
		t.Errorf("status %d: %s", r.code, r.err)
	}
	s.want(exitOK, words("Ended pushes/ada", "before the install was complete"), "uninstall", "pushes/ada")
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
