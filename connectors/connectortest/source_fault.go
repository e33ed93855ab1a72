package connectortest

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tributary/connectors"
)

// detour sends every request to a server of the suite, over a real connection, whatever host it names.
func detour(t *testing.T, h http.HandlerFunc) http.RoundTripper {
	t.Helper()
	server := httptest.NewServer(h)
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		server.CloseClientConnections()
		server.Close()
	})
	target, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		req = req.Clone(req.Context())
		req.URL.Scheme, req.URL.Host = target.Scheme, target.Host
		return transport.RoundTrip(req)
	})
}

func fetchThrough(t *testing.T, app SourceApp, timeout time.Duration, h http.HandlerFunc) error {
	t.Helper()
	source := openSource(t, app, detour(t, h)).(connectors.Source)
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, err := source.Fetch(ctx, connectors.FetchRequest{Stream: app.Stream, Limit: app.Limit})
	return err
}

func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i+1 < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const (
	// flood is what an endless body sends at most, and what the gzip bomb unpacks to.
	flood = 2 << 30
	// maxMemory is what reading either may allocate in all, other tests of the process included.
	maxMemory = 1 << 30
)

func testErrorKinds(t *testing.T, app SourceApp) {
	const html = "<!DOCTYPE html><html><body>Sign in</body></html>"
	// A page that is no page comes right by itself: the source backs off and nobody has to do anything.
	passing := []connectors.Kind{connectors.Unavailable, connectors.Unknown}
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		kinds  []connectors.Kind
	}{
		"401":                  {answer(401, `{"errors":"no"}`), []connectors.Kind{connectors.Unauthorized}},
		"403":                  {answer(403, `{"errors":"no"}`), []connectors.Kind{connectors.Forbidden}},
		"404":                  {answer(404, `{"errors":"no"}`), []connectors.Kind{connectors.NotFound}},
		"500":                  {answer(500, ""), passing},
		"502 with HTML":        {answer(502, html), passing},
		"503 with Retry-After": {answer(503, "", "Retry-After", "9999999999"), passing},
		"HTML with 200":        {answer(200, html, "Content-Type", "text/html"), passing},
		"nothing with 200":     {answer(200, ""), passing},
		"half of an object":    {answer(200, `{"data":{"customers":{"nodes":[{"id":`), passing},
		"deep nesting":         {answer(200, strings.Repeat("[", 1<<20)), passing},
		"a broken promise":     {answer(200, `{}`, "Content-Length", "100"), passing},
		"connection reset":     {reset, passing},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := fetchThrough(t, app, sourcePatience, c.answer)
			wantKind(t, err, c.kinds...)
			var e *connectors.Error
			if errors.As(err, &e) && (e.Wait < 0 || e.Wait > connectors.MaxWait) {
				t.Errorf("wait %s is not clamped to 0 to %s", e.Wait, connectors.MaxWait)
			}
		})
	}
	for name, c := range map[string]struct {
		header   string
		min, max time.Duration
	}{
		"seconds":    {"7", 7 * time.Second, 7 * time.Second},
		"a fraction": {"2.5", 2 * time.Second, 3 * time.Second},
		"a date":     {connectors.Env{Now: app.Now}.Time().Add(time.Minute).UTC().Format(http.TimeFormat), 30 * time.Second, time.Minute},
		"a past":     {"Mon, 02 Jan 2006 15:04:05 GMT", 0, time.Minute},
		"negative":   {"-5", 0, time.Minute},
		"huge":       {"99999999999999999999", time.Minute, connectors.MaxWait},
		"garbage":    {"soon", 0, time.Minute},
		"none":       {"", 0, time.Minute},
	} {
		t.Run("429 with Retry-After: "+name, func(t *testing.T) {
			t.Parallel()
			err := fetchThrough(t, app, sourcePatience, answer(429, "", "Retry-After", c.header))
			wantKind(t, err, connectors.RateLimited)
			var e *connectors.Error
			if errors.As(err, &e) && (e.Wait < c.min || e.Wait > c.max) {
				t.Errorf("wait %s, want %s to %s", e.Wait, c.min, c.max)
			}
		})
	}
	t.Run("a byte at a time", func(t *testing.T) {
		t.Parallel()
		begun := time.Now()
		err := fetchThrough(t, app, 300*time.Millisecond, drip)
		wantKind(t, err, passing...)
		if took := time.Since(begun); took > sourcePatience/2 {
			t.Errorf("it took %s although the context ended", took)
		}
	})
}

func testBoundedMemory(t *testing.T, app SourceApp) {
	t.Run("an endless body", func(t *testing.T) {
		var sent atomic.Int64
		wantBounded(t, app, func(w http.ResponseWriter, _ *http.Request) { pour(w, &sent) })
		if n := sent.Load(); n >= flood {
			t.Errorf("all %d bytes were taken", n)
		}
	})
	t.Run("a gzip bomb", func(t *testing.T) {
		wantBounded(t, app, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Encoding", "gzip")
			bomb(w)
		})
	})
}

func wantBounded(t *testing.T, app SourceApp, h http.HandlerFunc) {
	t.Helper()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := fetchThrough(t, app, 3*sourcePatience, h)
	runtime.ReadMemStats(&after)
	wantKind(t, err, connectors.TooLarge, connectors.Unavailable, connectors.Unknown)
	if used := after.TotalAlloc - before.TotalAlloc; used > maxMemory {
		t.Errorf("reading it allocated %d MiB", used>>20)
	}
}

// pour writes a JSON string that does not end, until the reader goes away.
func pour(w io.Writer, sent *atomic.Int64) {
	chunk := []byte(strings.Repeat("x", 1<<20))
	for _, err := io.WriteString(w, `{"data":"`); err == nil && sent.Load() < flood; {
		var n int
		n, err = w.Write(chunk)
		sent.Add(int64(n))
	}
}

// bomb writes gzip that unpacks to a JSON string of flood bytes, a MiB for each KiB: members one after the other are one file (RFC 1952, section 2.2).
func bomb(w io.Writer) {
	member := func(text string) []byte {
		var out bytes.Buffer
		z := gzip.NewWriter(&out)
		_, _ = io.WriteString(z, text) // a buffer takes everything
		_ = z.Close()
		return out.Bytes()
	}
	chunk := member(strings.Repeat("x", 1<<20))
	_, err := w.Write(member(`{"data":"`))
	for unpacked := 0; err == nil && unpacked < flood; unpacked += 1 << 20 {
		_, err = w.Write(chunk)
	}
}

// drip sends a byte from time to time, until the caller goes away.
func drip(w http.ResponseWriter, r *http.Request) {
	for tick := time.NewTicker(10 * time.Millisecond); ; {
		select {
		case <-r.Context().Done():
			tick.Stop()
			return
		case <-tick.C:
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
		}
	}
}

// reset answers a little and resets the connection.
func reset(w http.ResponseWriter, _ *http.Request) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(err)
	}
	_, _ = fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{\"data\":")
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// testErrorsHoldNoSecret answers with everything that the request held, as a careless app might.
func testErrorsHoldNoSecret(t *testing.T, app SourceApp) {
	if len(app.Secrets) == 0 {
		t.Fatal("the harness names no secrets")
	}
	for _, status := range []int{200, 400, 401, 403, 404, 422, 429, 500} {
		for shape, echo := range map[string]func(dump string) string{
			"plain":  func(dump string) string { return dump },
			"string": func(dump string) string { return fmt.Sprintf(`{"errors":%q}`, dump) },
			"list":   func(dump string) string { return fmt.Sprintf(`{"errors":[{"message":%q}]}`, dump) },
		} {
			t.Run(fmt.Sprintf("%d %s", status, shape), func(t *testing.T) {
				t.Parallel()
				err := fetchThrough(t, app, sourcePatience, func(w http.ResponseWriter, r *http.Request) {
					dump, _ := httputil.DumpRequest(r, true)
					w.WriteHeader(status)
					// The secrets once more, first: a source that cuts a long text would hide what it does not redact.
					_, _ = io.WriteString(w, echo(strings.ReplaceAll(strings.Join(app.Secrets, " ")+" "+string(dump), "\x00", "")))
				})
				if err == nil {
					t.Fatal("no error")
				}
				wantNoSecret(t, app, err)
			})
		}
	}
	t.Run("no connection", func(t *testing.T) {
		t.Parallel()
		source := openSource(t, app, roundTripper(func(req *http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("dial %s with %v", req.URL, req.Header)
		})).(connectors.Source)
		_, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: app.Stream})
		wantNoSecret(t, app, err)
	})
}

func wantNoSecret(t *testing.T, app SourceApp, err error) {
	t.Helper()
	for _, secret := range app.Secrets {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("a secret shows in: %v", err)
		}
	}
}
