package datastream

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tributary/connectors"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// keys is a connection that the tests share, because an RSA key takes a while to make.
var keys = sync.OnceValue(func() json.RawMessage {
	c, err := GenerateConnection()
	if err != nil {
		panic(err)
	}
	return c
})

var loopback = []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}

// post is a POST as an endpoint got it.
type post struct {
	header http.Header
	path   string
	body   []byte
}

// endpoint is an HTTP server that notes what it gets and lets a function answer.
type endpoint struct {
	*httptest.Server
	mu    sync.Mutex
	posts []post
}

func listen(t testing.TB, answer func(http.ResponseWriter, post)) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		if r.Method != http.MethodPost {
			t.Errorf("method %s", r.Method)
		}
		p := post{r.Header, r.URL.RequestURI(), body}
		e.mu.Lock()
		e.posts = append(e.posts, p)
		e.mu.Unlock()
		if answer != nil {
			answer(w, p)
		}
	}))
	e.Config.ErrorLog = log.New(io.Discard, "", 0)
	e.Start()
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) received() []post {
	e.mu.Lock()
	defer e.mu.Unlock()
	return append([]post(nil), e.posts...)
}

// opened opens a destination with settings; a URL is filled in as "url".
func opened(t testing.TB, url string, settings map[string]any) *destination {
	t.Helper()
	all := map[string]any{"url": url}
	for k, v := range settings {
		all[k] = v
	}
	raw, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	d, err := Definition().OpenDestination(connectors.Config{Settings: raw, Connection: keys(), Mode: connectors.Append, Env: connectors.Env{Networks: loopback}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d.(*destination)
}

// batchOf makes a batch of one record a key given; a key's records are numbered.
func batchOf(keys ...string) connectors.Batch {
	b := connectors.Batch{
		Installation: "shop/alice", Integration: "shop", User: "alice", Epoch: "0b2f6a4e-1111-4222-8333-444455556666", Lane: "endpoint",
		First: 40, Next: 40 + int64(len(keys)), Mode: connectors.Append,
	}
	for i, key := range keys {
		b.Records = append(b.Records, connectors.Record{
			ID: fmt.Sprintf("evt-%d", i), Stream: "orders", Key: key, Op: connectors.Upsert, Version: int64(i + 1), Ordinal: 40 + int64(i),
			OccurredAt: time.Date(2026, 11, 22, 3, 0, 0, 123000, time.UTC), Data: fmt.Appendf(nil, `{"n": %d}`, i),
		})
	}
	return b
}

// left is the batch as the engine brings it again: without what is durable or rejected.
func left(b connectors.Batch, r connectors.Result) connectors.Batch {
	records := b.Records
	b.Records = nil
	for i, o := range r.Outcomes {
		if o == connectors.Again {
			b.Records = append(b.Records, records[i])
		}
	}
	return b
}

// reset breaks the connection as a crashing server does.
func reset(w http.ResponseWriter) {
	conn, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		panic(err)
	}
	conn.(*net.TCPConn).SetLinger(0)
	conn.Close()
}

// kindOf is the kind of an error that a destination returned; everything else than an *Error is a fault.
func kindOf(t testing.TB, err error) connectors.Kind {
	t.Helper()
	if err == nil {
		return ""
	}
	e, ok := err.(*connectors.Error)
	if !ok {
		t.Fatalf("%T left the connector: %v", err, err)
	}
	return e.Kind
}
