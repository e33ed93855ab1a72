package datastream

import (
	"fmt"
	"io"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/delivery"
)

// Every header of a POST, to the letter: receivers depend on them.
func TestHeaders(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	d := opened(t, e.URL, map[string]any{"headers": map[string]string{"x-tenant": "acme"}})
	now := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	d.now = func() time.Time { return now }
	b := batchOf("gid://shop/Order/7 \"ü%")
	b.Records[0].Ordinal, b.Records[0].ID = 41, "evt-1"
	b.User = "alice@example.com"
	if _, err := d.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	got := e.received()[0].header
	for name, want := range map[string]string{
		"Content-Type":          "application/json",
		"Content-Length":        "8",
		"User-Agent":            "Tributary-DataStream/1.0",
		"X-Tenant":              "acme",
		"X-Alloy-WorkflowId":    "shop/alice",
		"X-Alloy-UserId":        "alice@example.com",
		"X-Alloy-BlockName":     "endpoint",
		"X-Alloy-BlockType":     "datastream",
		"X-Alloy-ExecutionUuid": "d8ba2621-6596-5c99-aca8-8eee63e12d43",        // Python's uuid5
		"Webhook-Id":            "f7Psnuo-4wCX0OeZ1DEB5Mx5oPSfTigROn4fiEzBr84", // Python's hashlib
		"Webhook-Timestamp":     fmt.Sprint(now.Unix()),
		"Ce-Specversion":        "1.0",
		"Ce-Id":                 "evt-1",
		"Ce-Source":             "/installations/shop/alice/streams/orders",
		"Ce-Type":               "tributary.orders.upsert",
		"Ce-Subject":            "gid://shop/Order/7%20%22%C3%BC%25",
		"Ce-Time":               "2026-11-22T03:00:00.000123Z",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	if id := delivery.ID(&connectors.Batch{Installation: "shop/alice", Records: []connectors.Record{{Stream: "orders", ID: "evt-1"}, {Stream: "orders", ID: "evt-2"}}}, []int{0, 1}); id != "C5Swz7JQIM-1QTG3dXF96wzfPrMDBJlemjPY4FSM-ag" {
		t.Errorf("ID of an array: %s", id)
	}
}

// A delete is told by ce-type; what is not known has no header.
func TestDeletesAndUnknownsInHeaders(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	b := batchOf("")
	b.Records[0].Op, b.Records[0].OccurredAt, b.Records[0].Data = connectors.Delete, time.Time{}, nil
	if _, err := opened(t, e.URL, nil).Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	p := e.received()[0]
	_, subject := p.header["Ce-Subject"]
	_, at := p.header["Ce-Time"]
	if p.header.Get("Ce-Type") != "tributary.orders.delete" || subject || at || len(p.body) != 0 {
		t.Errorf("headers %v, body %q", p.header, p.body)
	}
}

// Whatever stands in a record, an installation or a user, the headers stay one line each and the POST goes out.
func TestAnyTextFitsIntoHeaders(t *testing.T) {
	t.Parallel()
	e := listen(t, nil)
	b := batchOf(strings.Repeat("ключ\n", 50))
	b.Installation, b.User, b.Lane = "shop/ü ser", "a\r\nX-Evil: 1", "block €"
	b.Records[0].ID, b.Records[0].Stream, b.Records[0].Ordinal = "\x00\x7f\"é", "or ders", math.MaxInt64
	if _, err := opened(t, e.URL, nil).Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	h := e.received()[0].header
	if h.Get("X-Evil") != "" || h.Get("X-Alloy-UserId") != "a%0D%0AX-Evil:%201" || h.Get("Ce-Id") != "%00%7F%22%C3%A9" {
		t.Errorf("headers %v", h)
	}
}

// misbehave runs a TCP server that reads a request's beginning and then does to the connection what it is told.
func misbehave(t *testing.T, do func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			served.Go(func() {
				defer conn.Close()
				conn.Read(make([]byte, 64<<10))
				do(conn)
			})
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	return "http://" + l.Addr().String() + "/canary-path?token=canary-token"
}

// Hostile answers cost bounded time and memory, decide by the status where there is one, and show nothing of themselves, of
// the URL or of the payload in errors and reasons (I7).
func TestHostileAnswers(t *testing.T) {
	t.Parallel()
	var connection = string(keys())
	drip := func(c net.Conn, head, piece string) {
		io.WriteString(c, head)
		ticker := time.NewTicker(time.Millisecond)
		defer ticker.Stop()
		for range ticker.C {
			if _, err := io.WriteString(c, piece); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		answer  func(net.Conn)
		kind    connectors.Kind
		outcome connectors.Outcome
	}{
		"closes at once": {func(net.Conn) {}, connectors.Unavailable, again},
		"garbage":        {func(c net.Conn) { io.WriteString(c, "canary-answer\r\n\r\n") }, connectors.Unavailable, again},
		"garbled status": {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 canary-answer\r\n\r\n") }, connectors.Unavailable, again},
		"two lengths": {func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
		}, connectors.Unavailable, again},
		"half a status line": {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 20") }, connectors.Unavailable, again},
		"slow header":        {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nX-Canary: ", "x") }, connectors.Unavailable, again},
		"endless header":     {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\n", "X-Canary: "+strings.Repeat("x", 32<<10)+"\r\n") }, connectors.Unavailable, again},
		"endless interim":    {func(c net.Conn) { drip(c, "", "HTTP/1.1 103 Early Hints\r\n\r\n") }, connectors.Unavailable, again},
		"endless body":       {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 32<<10)) }, "", durable},
		"slow body":          {func(c net.Conn) { drip(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", "x") }, "", durable},
		"body cut off":       {func(c net.Conn) { io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx") }, "", durable},
		"says it in the reason": {func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 403 canary-answer\r\nContent-Length: 13\r\n\r\ncanary-answer")
		}, connectors.Forbidden, again},
		"refuses": {func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 422 canary-answer\r\nContent-Length: 13\r\n\r\ncanary-answer")
		}, "", rejected},
		"switches protocols": {func(c net.Conn) {
			io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n")
		}, connectors.Unknown, again},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := opened(t, misbehave(t, c.answer), map[string]any{"timeout": "300ms", "headers": map[string]string{"X-Tenant": "canary-header"}})
			b := batchOf("canary-key")
			b.Records[0].Data = []byte(`"canary-payload"`)
			begun := time.Now()
			result, err := d.Write(t.Context(), b)
			if kindOf(t, err) != c.kind || result.Outcomes[0] != c.outcome {
				t.Errorf("outcome %v, want %v; error %v, want kind %q", result.Outcomes[0], c.outcome, err, c.kind)
			}
			if took := time.Since(begun); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			said := result.Reasons[0]
			if err != nil {
				said += err.Error()
			}
			if strings.Contains(said, "canary") || strings.Contains(said, "127.0.0.1") {
				t.Errorf("said too much: %s", said)
			}
			for secret := range strings.SplitSeq(connection, `"`) {
				if len(secret) > 20 && strings.Contains(said, secret) {
					t.Errorf("said a secret: %s", said)
				}
			}
		})
	}
}
