package receiver

import (
	"bytes"
	"strings"
	"testing"
)

// Whatever is sent: no panic, no 5xx but for our own trouble, and nothing unsigned in the journal.
func FuzzHandler(f *testing.F) {
	f.Add("POST", "/hooks/x", []byte(`{}`), "", false)
	f.Add("POST", "", []byte(events(event("a"))), "", true)
	f.Add("GET", "?challenge=x", []byte{}, "", false)
	f.Add("POST", "/apps/tiny/default", []byte(events(`{"id":"a","stream":"orders","account":"1"}`)), "ab", true)
	f.Add("POST", "", []byte("{\"events\":[{\"id\":\"\xff\",\"stream\":\"orders\"}]}"), "", true)
	f.Add("POST", "", []byte(`{"events":[{"id":"0"}]}`), "", true)
	fix := start(f, Limits{})
	handler := fix.server.public()
	f.Fuzz(func(t *testing.T, method, path string, body []byte, signature string, signed bool) {
		if bytes.Contains(body, []byte("panic")) || bytes.Contains(body, []byte("broken")) {
			return // tiny does as it is told
		}
		fix.journal.set(func(l *memoryLog) { l.entries, l.size = nil, 0 })
		if !strings.HasPrefix(path, "/") {
			path = "/hooks/" + fix.token + path
		}
		if signed {
			signature = sign(secret, body)
		}
		w := serve(t, handler, method, path, body, signature)
		if w == nil {
			return // no request at all
		}
		if w.Code >= 500 && w.Code != 501 {
			t.Fatalf("%s %q: %d %s", method, path, w.Code, w.Body)
		}
		for _, records := range recordsIn(t, fix.journal) {
			for _, r := range records {
				if signature != sign(secret, body) || !strings.Contains(string(body), string(r.Data)) {
					t.Fatalf("kept %q", r.Data)
				}
			}
		}
	})
}
