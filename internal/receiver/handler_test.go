package receiver

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
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
