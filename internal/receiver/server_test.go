package receiver

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/journal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A signed webhook is in the journal, byte for byte, when its 200 comes (I2, I8), and the connector sees the URL that the sender called.
func TestHookIsKept(t *testing.T) {
	t.Parallel()
	urls := make(chan string, 1)
	f := start(t, Limits{}, func(f *fixture, _ *Config) {
		f.opener.hook = func(d connectors.Delivery) { urls <- d.URL }
	})
	hostile := `{ "id":"x" , "stream":"orders","a":1,"a":2,"n":1e999,"u":"\ud800","deep":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "}"
	before := time.Now()
	f.want("hook", f.hook(events(hostile)), 200)
	if got, want := <-urls, "https://hooks.example.com/hooks/"+f.token; got != want {
		t.Errorf("URL %q, want %q", got, want)
	}
	got := f.kept()["epoch-ada"]
	if len(got) != 1 || string(got[0].Data) != hostile || got[0].ReceivedAt.Before(before.Add(-time.Second)) {
		t.Fatalf("kept %d records: %+v", len(got), got)
	}
}

// One request is one entry, whatever it holds, and records of streams nobody asked for are left out.
func TestOneEntryPerRequest(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{})
	f.want("hook", f.hook(events(event("a"), `{"id":"b","stream":"invoices"}`, event("c"))), 200)
	if first, next := f.journal.Bounds(); next-first != 1 {
		t.Errorf("%d entries, want 1", next-first)
	}
	if got := f.kept()["epoch-ada"]; len(got) != 2 || got[0].ID != "a" || got[1].ID != "c" {
		t.Errorf("kept %+v", got)
	}
	f.want("nothing wanted", f.hook(events(`{"id":"b","stream":"invoices"}`)), 200)
	if first, next := f.journal.Bounds(); next-first != 1 {
		t.Error("an entry without records was written")
	}
	f.wantMetric("tributary_receiver_unrequested_records_total 2")
	f.wantMetric("tributary_receiver_records_total 2")
}

func (f *fixture) wantMetric(line string) {
	f.t.Helper()
	if got := f.get(f.ops + "/metrics"); !strings.Contains(got.body, "\n"+line+"\n") {
		name, _, _ := strings.Cut(line, " ")
		for l := range strings.Lines(got.body) {
			if strings.HasPrefix(l, name) {
				f.t.Log(l)
			}
		}
		f.t.Errorf("no metric %q", line)
	}
}

// A request holding more than one intent may carry becomes several entries.
func TestLargeRequestIsDivided(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{})
	var list []string
	for i := range maxIntentRecords + 1 {
		list = append(list, fmt.Sprintf(`{"id":"%d","stream":"orders"}`, i))
	}
	f.want("hook", f.hook(events(list...)), 200)
	if first, next := f.journal.Bounds(); next-first != 2 {
		t.Errorf("%d entries, want 2", next-first)
	}
	if got := len(f.kept()["epoch-ada"]); got != maxIntentRecords+1 {
		t.Errorf("kept %d records", got)
	}
}

// What isn't authentic or isn't understood leaves nothing in the journal, and nothing secret in the log (I7, I13).
func TestRefusals(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{})
	body := []byte(events(event("a")))
	hook := "/hooks/" + f.token
	other, _ := NewToken()
	long := strings.Repeat("x", connectors.MaxIDBytes+1)
	for _, c := range []struct {
		what   string
		got    answer
		status int
	}{
		{"no signature", f.send("POST", hook, body, ""), 401},
		{"wrong secret", f.send("POST", hook, body, sign("other", body)), 401},
		{"tampered body", f.send("POST", hook, append(body, ' '), sign(secret, body)), 401},
		{"not understood", f.hook(`{"events":3}`), 400},
		{"truncated JSON", f.hook(`{"events":[`), 400},
		{"no ID", f.hook(events(event(""))), 400},
		{"4 KB of ID", f.hook(events(event(long))), 400},
		{"control character in ID", f.hook(events(`{"id":"a\u0000b","stream":"orders"}`)), 400},
		{"unknown token", f.send("POST", "/hooks/"+other, body, ""), 404},
		{"no token", f.send("POST", "/hooks/x", body, ""), 404},
		{"other path", f.send("POST", "/", body, ""), 404},
		{"other method", f.send("DELETE", hook, body, ""), 405},
		{"GET without challenge", f.send("GET", hook, nil, ""), 400},
		{"no stream", f.hook(events(`{"id":"a"}`)), 400},
		{"connector that forgets the stream", f.hook(events(`{"id":"a","broken":true}`)), 500},
		{"panic", f.hook(events(`{"id":"secret-payload","stream":"orders","panic":true}`)), 500},
	} {
		f.want(c.what, c.got, c.status)
	}
	if kept := f.kept(); len(kept) != 0 {
		t.Errorf("kept %v", kept)
	}
	f.want("after the panic", f.hook(events(event("a"))), 200)
	for _, never := range []string{"secret-payload", secret, f.token, `"events"`} {
		if strings.Contains(f.logs.String(), never) {
			t.Errorf("the log has %q", never)
		}
	}
	for _, line := range []string{`tributary_receiver_refused_requests_total{reason="signature"} 3`, `tributary_receiver_refused_requests_total{reason="panic"} 1`,
		`tributary_receiver_refused_requests_total{reason="unknown"} 2`} {
		f.wantMetric(line)
	}
}

// The state of installation, integration and catalog decides before the body is read.
func TestStates(t *testing.T) {
	t.Parallel()
	body := events(event("a"))
	for _, c := range []struct {
		what   string
		change func(*directory)
		status int
		retry  bool
	}{
		{"ended", func(d *directory) { d.installations[0].State = catalog.Ended }, 410, false},
		{"pressure", func(d *directory) { d.installations[0].Pressure = true }, 429, true},
		{"catalog down", func(d *directory) { d.down = errors.New("no route to database") }, 503, true},
		{"installing", func(d *directory) { d.installations[0].State = catalog.Installing }, 200, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			f := start(t, Limits{CacheTime: time.Millisecond})
			f.want("before", f.hook(body), 200)
			f.catalog.set(c.change)
			eventually(t, c.what, func() bool { return f.hook(body).status == c.status })
			got := f.hook(body)
			f.want(c.what, got, c.status)
			if has := got.header.Get("Retry-After") != ""; has != c.retry {
				t.Errorf("Retry-After: %v", got.header)
			}
			if strings.Contains(got.body, "database") {
				t.Error("the sender is told of our insides")
			}
		})
	}
}

// What comes for a deactivated integration is kept for its paused installations: the app would not send it for ever.
func TestDeactivated(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{CacheTime: time.Nanosecond})
	f.want("before", f.hook(events(event("a"))), 200)
	f.catalog.set(func(d *directory) { d.active = false })
	f.want("deactivated", f.hook(events(event("b"))), 200)
}

// A rotated secret counts within the cache's time, without a restart.
func TestSecretRotates(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{CacheTime: 10 * time.Millisecond})
	body := []byte(events(event("a")))
	f.want("old secret", f.hook(string(body)), 200)
	f.opener.secret.Store("new")
	eventually(t, "the new secret counts", func() bool {
		return f.send("POST", "/hooks/"+f.token, body, sign("new", body)).status == 200
	})
	f.want("old secret", f.hook(string(body)), 401)
}

// A connection that can't be opened is our trouble: the sender comes again.
func TestOpenFails(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{})
	f.opener.fail.Store(true)
	f.wantRetry("vault locked", f.hook(events(event("a"))), 503)
	f.opener.fail.Store(false)
	f.want("unlocked", f.hook(events(event("a"))), 200)
}

// Challenges are answered, by GET and in a body, the latter when its records are durable.
func TestChallenge(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{})
	got := f.send("GET", "/hooks/"+f.token+"?challenge=abc", nil, "")
	if f.want("GET", got, 200); got.body != "abc" || got.header.Get("Content-Type") != "text/plain" {
		t.Errorf("answer %+v", got)
	}
	block := make(chan struct{})
	f.journal.set(func(l *memoryLog) { l.block = block })
	answered := make(chan answer, 1)
	go func() { answered <- f.hook(`{"events":[` + event("a") + `],"challenge":{"c":1}}`) }()
	select {
	case a := <-answered:
		t.Fatalf("answered %d before the record was durable", a.status)
	case <-time.After(50 * time.Millisecond):
	}
	close(block)
	if got := <-answered; got.status != 202 || got.body != `{"c":1}` {
		t.Errorf("answer %+v", got)
	}
}

// No success without the journal (I2).
func TestJournalFails(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{JournalBytes: 2000})
	f.journal.set(func(l *memoryLog) { l.fail = journal.ErrFull })
	f.wantRetry("full", f.hook(events(event("a"))), 503)
	f.journal.set(func(l *memoryLog) { l.fail = errors.New("input/output error") })
	f.wantRetry("broken", f.hook(events(event("a"))), 503)
	if got := f.get(f.ops + "/readyz"); got.status != 503 || !strings.Contains(got.body, "journal: input/output error") {
		t.Errorf("ready: %+v", got)
	}
	f.journal.set(func(l *memoryLog) { l.fail = nil })
	f.want("works again", f.hook(events(event("a"))), 200)

	// The limit leaves the forwarder room that webhooks can't take.
	eventually(t, "the limit is reached", func() bool { return f.hook(events(event("a"))).status != 200 })
	f.wantRetry("at the limit", f.hook(events(event("a"))), 503)
	if size := f.journal.Size(); size < 2000 || size > 2200 {
		t.Errorf("journal of %d bytes", size)
	}
	if got := f.get(f.ops + "/readyz"); got.status != 503 || !strings.Contains(got.body, "journal: full") {
		t.Errorf("ready: %+v", got)
	}
}

// Stopping lets requests in flight finish and takes no new ones.
func TestGracefulStop(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{})
	block := make(chan struct{})
	f.journal.set(func(l *memoryLog) { l.block = block })
	got := make(chan answer, 1)
	go func() { got <- f.hook(events(event("a"))) }()
	eventually(t, "one in flight", func() bool { return len(f.server.slots) == 1 })
	f.stop()
	eventually(t, "stopping", f.server.stopped.Load)
	eventually(t, "refuses connections", func() bool {
		c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	if got := f.get(f.ops + "/readyz"); got.status != 503 || !strings.Contains(got.body, "server: stopping") {
		t.Errorf("ready while stopping: %+v", got)
	}
	close(block)
	f.want("in flight", <-got, 200)
	if n := len(f.kept()["epoch-ada"]); n != 1 {
		t.Errorf("kept %d records", n)
	}
}

// A server that can't be served from any more says so, and stops.
func TestListenerFails(t *testing.T) {
	t.Parallel()
	public := listen(t)
	f := start(t, Limits{}, func(_ *fixture, c *Config) {
		c.Public.Close()
		c.Public = public
	})
	public.Close()
	select {
	case err := <-f.done:
		if err == nil {
			t.Error("no error")
		}
	case <-time.After(10 * time.Second):
		t.Fatal("still running")
	}
	f.done <- nil
}

func TestOps(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{})
	f.want("healthz", f.get(f.ops+"/healthz"), 200)
	f.want("readyz", f.get(f.ops+"/readyz"), 200)
	f.temporal.Store(true)
	if got := f.get(f.ops + "/readyz"); got.status != 503 || !strings.Contains(got.body, "temporal: unreachable") || !strings.Contains(got.body, "catalog: ok") {
		t.Errorf("readyz without Temporal: %+v", got)
	}
	f.want("healthz without Temporal", f.get(f.ops+"/healthz"), 200)
	f.catalog.set(func(d *directory) { d.down = errors.New("down") })
	if got := f.get(f.ops + "/readyz"); got.status != 503 || !strings.Contains(got.body, "catalog: down") {
		t.Errorf("readyz without catalog: %+v", got)
	}
	f.want("ops are not public", f.get(f.url+"/metrics"), 404)
	if got := f.get(f.url + "/.well-known/tributary/keys"); got.status != 200 || got.body != `{"keys":[]}` || got.header.Get("Content-Type") != "application/json" {
		t.Errorf("keys: %+v", got)
	}
}

func TestNewServerRefusesGaps(t *testing.T) {
	t.Parallel()
	if _, err := NewServer(Config{}); err == nil {
		t.Error("a server without anything was made")
	}
	if _, err := NewForwarder(ForwarderConfig{}); err == nil {
		t.Error("a forwarder without anything was made")
	}
}
