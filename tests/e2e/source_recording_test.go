package e2e

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/tidwall/gjson"
)

// recording serves for a stand-in and notes the objects of its answers: those of a list in a field, by what names them.
type recording struct {
	http.Handler
	list string
	name func(path string, object gjson.Result) string

	mu  sync.Mutex
	all tally
}

func (r *recording) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	answer := httptest.NewRecorder()
	r.Handler.ServeHTTP(answer, req)
	body := answer.Body.Bytes()
	r.mu.Lock()
	for _, object := range gjson.GetBytes(body, r.list).Array() {
		if name := r.name(req.URL.Path, object); name != "" {
			r.all[thingOf(name, []byte(object.Raw))] = 1
		}
	}
	r.mu.Unlock()
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(body)
}

func (r *recording) served() tally {
	r.mu.Lock()
	defer r.mu.Unlock()
	return tally{}.with(r.all)
}

func record(t *testing.T, h http.Handler, list string, name func(path string, object gjson.Result) string) (*recording, string) {
	r := &recording{Handler: h, list: list, name: name, all: tally{}}
	server := httptest.NewServer(r)
	t.Cleanup(server.Close)
	return r, server.URL
}
