package receiver

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"tributary/internal/journal"
)

// serve lets the handler answer a request without a network; nil when there is no such request.
func serve(t *testing.T, h http.Handler, method, path string, body []byte, signature string) *httptest.ResponseRecorder {
	t.Helper()
	r, err := http.NewRequest(method, "http://receiver.test"+path, bytes.NewReader(body))
	if err != nil {
		return nil
	}
	r.RequestURI = path
	r.Header.Set("X-Signature", signature)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// BenchmarkHandler measures what a signed webhook of 1 KB costs from net/http's handler to the journal on disk and
// back, 64 at once.
func BenchmarkHandler(b *testing.B) {
	log, err := journal.Open(b.TempDir(), journal.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer log.Close()
	f := start(b, Limits{JournalBytes: 1 << 40}, func(_ *fixture, c *Config) { c.Journal = log })
	h := f.server.public()
	body := []byte(events(`{"id":"a","stream":"orders","pad":"` + strings.Repeat("x", 1000) + `"}`))
	signature := sign(secret, body)
	b.SetParallelism(32)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			r := httptest.NewRequest("POST", "/hooks/"+f.token, bytes.NewReader(body))
			r.Header.Set("X-Signature", signature)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 200 {
				b.Errorf("%d %s", w.Code, w.Body)
				return
			}
		}
	})
}
