package receiver

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestBodyLimit(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{BodyBytes: 1000})
	fits := events(event("a"))
	fits += strings.Repeat(" ", 1000-len(fits))
	f.want("at the limit", f.hook(fits), 200)
	f.want("over", f.hook(fits+" "), 413)
	// Chunked: nothing says beforehand how long it is.
	body := io.MultiReader(strings.NewReader(fits), strings.NewReader(" "))
	r, err := http.NewRequest("POST", f.url+"/hooks/"+f.token, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Signature", sign(secret, []byte(fits+" ")))
	if r.ContentLength > 0 {
		t.Fatal("the request is not chunked")
	}
	f.want("over, chunked", f.do(r), 413)
	if n := len(f.kept()["epoch-ada"]); n != 1 {
		t.Errorf("kept %d records", n)
	}
}

func TestHeaderLimit(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{HeaderBytes: 1000})
	f.want("8 KB of header", f.send("POST", "/hooks/"+f.token, nil, strings.Repeat("x", 8<<10)), http.StatusRequestHeaderFieldsTooLarge)
}

// One that sends a byte now and then is disconnected when its time is over.
func TestSlowSender(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{ReadTime: 200 * time.Millisecond, HeaderTime: 200 * time.Millisecond})
	for _, begin := range []string{
		"POST /hooks/" + f.token + " HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{",
		"POST /hooks/" + f.token + " HTTP/1.1\r\nHost: x\r\nX-",
	} {
		c, err := net.Dial("tcp", strings.TrimPrefix(f.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if _, err := io.WriteString(c, begin); err != nil {
			t.Fatal(err)
		}
		go func() { // ends when the connection does
			for {
				if _, err := c.Write([]byte(" ")); err != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
		if err := c.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(bufio.NewReader(c))
		var timeout net.Error
		if errors.As(err, &timeout) && timeout.Timeout() {
			t.Fatalf("still connected; answer %q", answer)
		}
		if strings.Contains(string(answer), " 200 ") {
			t.Errorf("answer %q", answer)
		}
	}
}

func TestRates(t *testing.T) {
	t.Parallel()
	body := events(event("a"))
	t.Run("installation", func(t *testing.T) {
		t.Parallel()
		f := start(t, Limits{InstallationRate: 0.001, InstallationBurst: 2})
		f.want("first", f.hook(body), 200)
		f.want("second", f.hook(body), 200)
		f.wantRetry("third", f.hook(body), 429)
		app := []byte(events(`{"id":"a","stream":"orders","account":"2"}`))
		f.want("another", f.send("POST", "/apps/tiny/default", app, sign(secret, app)), 200)
	})
	t.Run("all", func(t *testing.T) {
		t.Parallel()
		f := start(t, Limits{Rate: 0.001, Burst: 1})
		f.want("first", f.hook(body), 200)
		f.wantRetry("second", f.send("POST", "/apps/tiny/default", nil, ""), 429)
	})
}

// More requests at once than allowed are told to come again; those in flight are not harmed.
func TestConcurrencyLimit(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{Concurrent: 2})
	block := make(chan struct{})
	f.journal.set(func(l *memoryLog) { l.block = block })
	body := events(event("a"))
	var inside sync.WaitGroup
	got := make(chan answer, 2)
	for range 2 {
		inside.Go(func() { got <- f.hook(body) })
	}
	eventually(t, "two in flight", func() bool { return len(f.server.slots) == 2 })
	f.wantRetry("third", f.hook(body), 503)
	close(block)
	inside.Wait()
	f.want("first", <-got, 200)
	f.want("second", <-got, 200)
	f.want("later", f.hook(body), 200)
}
