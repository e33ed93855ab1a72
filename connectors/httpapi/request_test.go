package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/invopop/jsonschema"

	"tributary/connectors"
	"tributary/connectors/httpapi"
)

// batchOf makes a batch of one record a key given.
func batchOf(keys ...string) connectors.Batch {
	b := connectors.Batch{Installation: "shop/ada", Integration: "shop", User: "ada", Epoch: "e", Lane: "crm", Next: int64(len(keys)), Mode: connectors.Append}
	for i, key := range keys {
		b.Records = append(b.Records, connectors.Record{
			ID: fmt.Sprint("evt-", i), Stream: "contacts", Key: key, Op: connectors.Upsert, Version: int64(i + 1), Ordinal: int64(i),
			OccurredAt: time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC), Data: fmt.Appendf(nil, `{"n": %d, "price": 1.10}`, i),
		})
	}
	return b
}

func kindOf(t *testing.T, err error) connectors.Kind {
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

func write(t *testing.T, d connectors.Destination, b connectors.Batch) {
	t.Helper()
	r, err := d.Write(t.Context(), b)
	if err != nil || !slices.Equal(r.Outcomes, connectors.AllDurable(len(b.Records)).Outcomes) {
		t.Fatalf("%v, %v", r, err)
	}
}

// What is sent, to the letter: method, path, headers and body of an upsert and of a deletion.
func TestRequest(t *testing.T) {
	t.Parallel()
	a := serve(t, nil)
	d := opened(t, httpapi.Settings{
		URL:     a.URL + "/v1/",
		Request: httpapi.Request{Method: "PUT", Path: "/{stream}/{key}?source={integration}&v={version}", Body: `{id: $key, op: $op, price, who: [$installation, $integration, $user], $version, at: $occurred_at}`},
		Delete:  &httpapi.Request{Method: "DELETE", Body: "null"},
		Headers: map[string]string{"x-record": "{id} of {user}", "content-type": "application/vnd.api+json"},
	})
	b := batchOf("a/b?c=d#é %2e", "..")
	b.Records[1].Op, b.Records[1].Data = connectors.Delete, nil
	b.Records[1].ID = "évt 1"
	write(t, d, b)
	write(t, d, b)
	calls := a.received()
	slices.SortStableFunc(calls, func(x, y call) int { return strings.Compare(x.method, y.method) })
	for i, want := range []string{
		`DELETE /v1/contacts/%2E%2E?source=shop&v=2 null`,
		`PUT /v1/contacts/a%2Fb%3Fc%3Dd%23%C3%A9%20%252e?source=shop&v=1 ` +
			`{"at":"2026-11-22T03:00:00Z","id":"a/b?c=d#é %2e","op":"upsert","price":1.10,"version":1,"who":["shop/ada","shop","ada"]}`,
	} {
		c := calls[2*i]
		if got := c.method + " " + c.path + " " + c.body; got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		if c.header.Get("Content-Type") != "application/vnd.api+json" || c.header.Get("X-Record") != []string{"%C3%A9vt%201 of ada", "evt-0 of ada"}[i] {
			t.Errorf("headers %v", c.header)
		}
		if id := c.header.Get("Idempotency-Key"); len(id) != 43 || id != calls[2*i+1].header.Get("Idempotency-Key") {
			t.Errorf("ID %q, then %q", id, calls[2*i+1].header.Get("Idempotency-Key"))
		}
	}
	if calls[0].header.Get("Idempotency-Key") == calls[2].header.Get("Idempotency-Key") {
		t.Error("two records have one ID")
	}
}

// Every way to prove who calls, and that the credentials go with the URL of the connection where it has one.
func TestCredentials(t *testing.T) {
	t.Parallel()
	a := serve(t, nil)
	for want, c := range map[string]httpapi.Connection{
		"Authorization: Bearer " + canary:       {Token: canary},
		"Authorization: Basic YWRhOnM6ZWNyZXQ=": {User: "ada", Password: "s:ecret"},
		"X-Api-Key: " + canary:                  {Headers: []httpapi.Header{{Name: "x-api-key", Value: canary}}},
		"Authorization: Token " + canary:        {Headers: []httpapi.Header{{Name: "authorization", Value: "Token " + canary}}},
		"Cookie: sid=" + canary:                 {Headers: []httpapi.Header{{Name: "Cookie", Value: "sid=" + canary}}},
	} {
		c.URL = a.URL
		d := open(t, httpapi.Settings{Check: "/me?x=1"}, c)
		write(t, d, batchOf("a"))
		if err := d.(connectors.Checker).Check(t.Context()); err != nil {
			t.Error(err)
		}
		d.Close()
		calls := a.received()
		name, value, _ := strings.Cut(want, ": ")
		for _, c := range calls[len(calls)-2:] {
			if c.header.Get(name) != value {
				t.Errorf("want %s, got %v", name, c.header)
			}
		}
		if c := calls[len(calls)-1]; c.method != "GET" || c.path != "/me?x=1" || c.body != "" {
			t.Errorf("the check asks %s %s", c.method, c.path)
		}
	}
}

// What a redirect names is not called: it would get the credentials.
func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := serve(t, nil)
	a := serve(t, func(w http.ResponseWriter, _ call) {
		w.Header().Set("Location", elsewhere.URL)
		w.WriteHeader(307)
	})
	d := open(t, httpapi.Settings{URL: a.URL}, httpapi.Connection{Token: canary})
	defer d.Close()
	if _, err := d.Write(t.Context(), batchOf("a")); kindOf(t, err) != connectors.Invalid || len(elsewhere.received()) != 0 {
		t.Errorf("%v, and %d calls elsewhere", err, len(elsewhere.received()))
	}
}

// What an answer means: by its status, by the block's rules, and for a path that names the object.
func TestAnswers(t *testing.T) {
	t.Parallel()
	rules := httpapi.Settings{
		Success: &httpapi.Rule{Status: []string{"2xx", "409"}, Body: `.ok != false`},
		Retry:   &httpapi.Rule{Body: `.error == "busy" or $status == 418`},
		Reject:  &httpapi.Rule{Status: []string{"200", "4xx"}, Body: `.error == "bad"`},
	}
	object := httpapi.Settings{Request: httpapi.Request{Method: "PUT", Path: "/contacts/{key}"}, Delete: &httpapi.Request{Method: "DELETE"}}
	const refused = "refused"
	for _, c := range []struct {
		settings   httpapi.Settings
		op         connectors.Op
		status     int
		body       string
		retryAfter string
		kind       connectors.Kind // "" = delivered, refused = rejected
		wait       time.Duration
	}{
		{status: 200}, {status: 204}, {status: 299, body: "no JSON"},
		{status: 400, kind: refused}, {status: 409, kind: refused}, {status: 413, kind: refused}, {status: 422, kind: refused}, {status: 431, kind: refused},
		{status: 401, kind: connectors.Unauthorized}, {status: 403, kind: connectors.Forbidden}, {status: 404, kind: connectors.NotFound},
		{status: 410, kind: connectors.Gone}, {status: 415, kind: connectors.Invalid}, {status: 301, kind: connectors.Invalid},
		{status: 408, kind: connectors.Unavailable}, {status: 425, kind: connectors.Unavailable}, {status: 500, kind: connectors.Unavailable},
		{status: 503, retryAfter: "120", kind: connectors.Unavailable, wait: 2 * time.Minute},
		{status: 429, retryAfter: "30", kind: connectors.RateLimited, wait: 30 * time.Second},
		{status: 429, retryAfter: "99999999", kind: connectors.RateLimited, wait: connectors.MaxWait},
		{status: 600, kind: connectors.Unknown},

		{settings: rules, status: 200, body: `{"ok": true}`},
		{settings: rules, status: 201, body: ``},
		{settings: rules, status: 200, body: `{"ok": false}`, kind: connectors.Unknown},
		{settings: rules, status: 200, body: `{"ok": false, "error": "busy"}`, retryAfter: "7", kind: connectors.Unavailable, wait: 7 * time.Second},
		{settings: rules, status: 200, body: `{"ok": true, "error": "bad"}`, kind: refused},
		{settings: rules, status: 200, body: `[1]`, kind: connectors.Unknown}, // on which the conditions fail
		{settings: rules, status: 409},
		{settings: rules, status: 418, kind: connectors.Unavailable},
		{settings: rules, status: 404, body: `{"error": "bad"}`, kind: refused},
		{settings: rules, status: 404, body: `{"error": "bad"}{}`, kind: connectors.NotFound},
		{settings: rules, status: 503, body: `{"error": "bad"}`, retryAfter: "9", kind: connectors.Unavailable, wait: 9 * time.Second},
		{settings: rules, status: 429, body: `{"error": "busy"}`, retryAfter: "9", kind: connectors.RateLimited, wait: 9 * time.Second},
		{settings: rules, status: 200, body: `"` + strings.Repeat("x", 1<<20) + `"`}, // too large to look at

		{settings: object, status: 404, kind: refused}, {settings: object, status: 410, kind: refused},
		{settings: object, op: connectors.Delete, status: 404}, {settings: object, op: connectors.Delete, status: 410},
		{settings: object, op: connectors.Delete, status: 403, kind: connectors.Forbidden},
	} {
		t.Run(fmt.Sprint(c.settings.Path, c.op, c.status, c.body[:min(len(c.body), 20)]), func(t *testing.T) {
			t.Parallel()
			a := serve(t, func(w http.ResponseWriter, _ call) {
				w.Header().Set("Retry-After", c.retryAfter)
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			c.settings.URL = a.URL
			b := batchOf("a")
			b.Records[0].Op = max(c.op, connectors.Upsert)
			if c.op != "" {
				b.Records[0].Op = c.op
			}
			r, err := opened(t, c.settings).Write(t.Context(), b)
			got := kindOf(t, err)
			if len(r.Reasons) == 1 && r.Outcomes[0] == connectors.Rejected {
				got = refused
			}
			if got != c.kind || (got == "") != (r.Outcomes[0] == connectors.Durable) {
				t.Fatalf("got %q (%v, %v), want %q", got, r, err, c.kind)
			}
			if err != nil && (err.(*connectors.Error).Wait != c.wait || !strings.Contains(err.Error(), fmt.Sprint(c.status))) {
				t.Errorf("error %q with wait %v, want wait %v and the status", err, err.(*connectors.Error).Wait, c.wait)
			}
		})
	}
}

// Groups hold what shares a request, in order, within their bounds, as the programs make it.
func TestGroups(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body, wrap string
		want       []string
	}{
		"payloads as they are": {want: []string{
			`/contacts [{"n": 0, "price": 1.10},{"n": 1, "price": 1.10},{"n": 2, "price": 1.10}]`, `/contacts [{"n": 3, "price": 1.10}]`, `/orders [null,{"n": 5, "price": 1.10}]`,
		}},
		"bodies":  {body: `{$id}`, want: []string{`/contacts [{"id":"evt-0"},{"id":"evt-1"},{"id":"evt-2"}]`, `/contacts [{"id":"evt-3"}]`, `/orders [{"id":"evt-4"},{"id":"evt-5"}]`}},
		"wrapped": {wrap: `{inputs: map(.n)}`, want: []string{`/contacts {"inputs":[0,1,2]}`, `/contacts {"inputs":[3]}`, `/orders {"inputs":[null,5]}`}},
		"both":    {body: `.price`, wrap: `{inputs: .}`, want: []string{`/contacts {"inputs":[1.10,1.10,1.10]}`, `/contacts {"inputs":[1.10]}`, `/orders {"inputs":[null,1.10]}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, nil)
			d := opened(t, httpapi.Settings{URL: a.URL, Request: httpapi.Request{Path: "/{stream}", Body: c.body}, Batch: &httpapi.Batch{Records: 3, Body: c.wrap}})
			b := batchOf("a", "b", "a", "c", "d", "e")
			b.Records[4].Stream, b.Records[5].Stream = "orders", "orders"
			b.Records[4].Data = nil
			write(t, d, b)
			var got []string
			for _, c := range a.received() {
				got = append(got, c.path+" "+c.body)
				if !json.Valid([]byte(c.body)) {
					t.Errorf("not JSON: %s", c.body)
				}
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got  %q\nwant %q", got, c.want)
			}
		})
	}
}

// A deletion that is sent otherwise has a request of its own, and so has a record whose headers differ.
func TestGroupsOfOneRequest(t *testing.T) {
	t.Parallel()
	a := serve(t, nil)
	d := opened(t, httpapi.Settings{
		URL: a.URL, Delete: &httpapi.Request{Method: "DELETE"}, Headers: map[string]string{"X-Stream": "{stream}"}, Batch: &httpapi.Batch{},
	})
	b := batchOf("a", "b", "c", "d")
	b.Records[1].Op, b.Records[2].Op = connectors.Delete, connectors.Delete
	b.Records[3].Op, b.Records[3].Stream = connectors.Delete, "orders"
	write(t, d, b)
	var got []string
	for _, c := range a.received() {
		got = append(got, fmt.Sprint(c.method, " ", c.header.Get("X-Stream"), " ", strings.Count(c.body, `"n"`)))
	}
	if want := []string{"POST contacts 1", "DELETE contacts 2", "DELETE orders 1"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// One record of a hundred that the API refuses, and one that the program can't map, are found; the others are delivered (I4).
func TestPoisonInAGroup(t *testing.T) {
	t.Parallel()
	var taken atomic.Int64
	a := serve(t, func(w http.ResponseWriter, c call) {
		if strings.Contains(c.body, `"v":37`) {
			w.WriteHeader(422)
			return
		}
		taken.Add(int64(strings.Count(c.body, `"v":`)))
	})
	var keys []string
	for i := range 100 {
		keys = append(keys, fmt.Sprint(i%7))
	}
	b := batchOf(keys...)
	b.Records[61].Data = []byte(`{"n": "secret"}`)
	b.Records[62].Data = []byte("{\"n\": \"secret\xff\"}")
	d := opened(t, httpapi.Settings{URL: a.URL, Request: httpapi.Request{Body: `{v: (.n + 0)}`}, Batch: &httpapi.Batch{Body: `{inputs: .}`}})
	r, err := d.Write(t.Context(), b)
	if err != nil || taken.Load() != 97 || len(r.Reasons) != 3 {
		t.Fatalf("%d taken, %v, %v", taken.Load(), r.Reasons, err)
	}
	for i, want := range map[int]string{37: "422", 61: "cannot add", 62: "UTF-8"} {
		if reason := r.Reasons[i]; !strings.Contains(reason, want) || strings.Contains(reason, "secret") {
			t.Errorf("record %d: %q, want %q", i, reason, want)
		}
	}
}

// Records that can't become a request are rejected with the reason, without a call.
func TestRecordsThatMakeNoRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		request httpapi.Request
		key     string
		data    string
		want    string
	}{
		"no key for the path": {httpapi.Request{Path: "/contacts/{key}"}, "", `{}`, "no key"},
		"nothing":             {httpapi.Request{Body: "empty"}, "a", `{}`, "gives nothing"},
		"two bodies":          {httpapi.Request{Body: "1, 2"}, "a", `{}`, "more than one output"},
		"without end":         {httpapi.Request{Body: "def f: f; f"}, "a", `{}`, "too many steps"},
		"too large":           {httpapi.Request{Body: `"x" * 2000000`}, "a", `{}`, "too large"},
		"no JSON":             {httpapi.Request{Body: "."}, "a", `secret`, "not valid JSON"},
		"an error of its own": {httpapi.Request{Body: "error(.a)"}, "a", `{"a": "secret"}`, "calls error"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, nil)
			b := batchOf(c.key)
			b.Records[0].Data = []byte(c.data)
			r, err := opened(t, httpapi.Settings{URL: a.URL, Request: c.request}).Write(t.Context(), b)
			if err != nil || !strings.Contains(r.Reasons[0], c.want) || strings.Contains(r.Reasons[0], "secret") || len(a.received()) != 0 {
				t.Errorf("%v, %v, %d calls", r.Reasons, err, len(a.received()))
			}
		})
	}
}

// Close ends a Write that waits for an answer.
func TestCloseEndsARunningWrite(t *testing.T) {
	t.Parallel()
	begun, release := make(chan struct{}, 9), make(chan struct{})
	a := serve(t, func(http.ResponseWriter, call) { begun <- struct{}{}; <-release })
	defer close(release)
	d := opened(t, httpapi.Settings{URL: a.URL})
	errs := make(chan error, 1)
	go func() {
		_, err := d.Write(context.Background(), batchOf("a", "a"))
		errs <- err
	}()
	<-begun
	d.Close()
	if err := <-errs; kindOf(t, err) != connectors.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestBadSettingsAreRefusedWhenOpened(t *testing.T) {
	t.Parallel()
	const at = `{"url": "https://example.com", `
	for name, c := range map[string]struct{ settings, connection, want string }{
		"unknown field":          {at + `"paths": ""}`, ``, "body, check, concurrency, delete, headers, id_header, method, path"},
		"no URL":                 {`{}`, ``, "in one of them"},
		"two URLs":               {at + `"path": ""}`, `{"url": "https://example.org"}`, "in one of them"},
		"inside":                 {`{"url": "https://10.0.0.1/"}`, ``, "inside the network"},
		"inside, by connection":  {`{}`, `{"url": "http://169.254.169.254/"}`, "inside the network"},
		"a query in the URL":     {`{"url": "https://example.com/?a=b"}`, ``, "a query belongs to path"},
		"path leads elsewhere":   {at + `"path": "@evil.example/"}`, ``, "must begin with /"},
		"port in the path":       {at + `"path": ":81/"}`, ``, "must begin with /"},
		"space":                  {at + `"path": "/a b"}`, ``, "percent-encoded"},
		"fragment":               {at + `"path": "/a#b"}`, ``, "percent-encoded"},
		"variable":               {at + `"path": "/{lane}"}`, ``, "want the variables"},
		"method":                 {at + `"method": "GET"}`, ``, "want POST, PUT, PATCH or DELETE"},
		"method of deletes":      {at + `"delete": {"method": "TRACE"}}`, ``, "delete.method"},
		"clock":                  {at + `"body": "now"}`, ``, "now can't be used"},
		"environment":            {at + `"body": "env"}`, ``, "env can't be used"},
		"more input":             {at + `"body": "input"}`, ``, "input can't be used"},
		"program":                {at + `"body": "{"}`, ``, "body: jq:"},
		"wrapping program":       {at + `"batch": {"body": "$id"}}`, ``, "batch.body: jq: variable not defined"},
		"batch":                  {at + `"batch": {"records": 1}}`, ``, "records must be from 2"},
		"batch bytes":            {at + `"batch": {"bytes": -1}}`, ``, "bytes from 1"},
		"concurrency":            {at + `"concurrency": 257}`, ``, "concurrency: must be from 1"},
		"timeout":                {at + `"timeout": "2m"}`, ``, "timeout: must be a duration"},
		"secret header":          {at + `"headers": {"Authorization": "` + canary + `"}}`, ``, "is a secret"},
		"ID header":              {at + `"id_header": "a b"}`, ``, "id_header"},
		"ID header twice":        {at + `"headers": {"idempotency-key": "1"}}`, ``, "sets itself"},
		"length":                 {at + `"headers": {"Content-Length": "1"}}`, ``, "sets itself"},
		"connection's ID header": {at + `"id_header": "x-api-key"}`, `{"headers": [{"name": "X-Api-Key", "value": "` + canary + `"}]}`, "is the connection's"},
		"connection's header":    {at + `"headers": {"x-api-key": "1"}}`, `{"headers": [{"name": "X-Api-Key", "value": "` + canary + `"}]}`, "is the connection's"},
		"two ways":               {at + `"path": ""}`, `{"token": "` + canary + `", "user": "a"}`, "one of them"},
		"token of two lines":     {at + `"path": ""}`, `{"token": "` + canary + `\n"}`, "control characters"},
		"host header":            {at + `"path": ""}`, `{"headers": [{"name": "Host", "value": "` + canary + `"}]}`, "sets itself"},
		"empty rule":             {at + `"retry": {}}`, ``, "retry: give status, body or both"},
		"status":                 {at + `"retry": {"status": ["5x"]}}`, ``, "want one such as 409"},
		"condition":              {at + `"reject": {"body": "$id"}}`, ``, "reject: body: jq:"},
		"check":                  {at + `"check": "me"}`, ``, "must begin with /"},
	} {
		_, err := httpapi.Definition().OpenDestination(connectors.Config{Settings: json.RawMessage(c.settings), Connection: json.RawMessage(c.connection)})
		if kindOf(t, err) != connectors.Invalid || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
	}
	if _, err := connectors.NewRegistry(httpapi.Definition()); err != nil {
		t.Error(err)
	}
	b, err := json.Marshal((&jsonschema.Reflector{DoNotReference: true}).Reflect(httpapi.Definition().Connection))
	if n := strings.Count(string(b), `"format":"password"`); n != 3 || err != nil {
		t.Errorf("%d fields are secret, want token, password and a header's value: %s", n, b)
	}
	if _, err := httpapi.Definition().OpenDestination(connectors.Config{Settings: []byte(`{"url": "https://example.com"}`), Mode: connectors.ModeUpsert}); kindOf(t, err) != connectors.Invalid {
		t.Errorf("mode upsert: %v", err)
	}
}
