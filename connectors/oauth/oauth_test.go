package oauth_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/oauth"
	"tributary/connectors/outbound"
)

const canary = "canary-7d1e"

var clock = time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)

// endpoint answers every request with h and keeps the last one.
type endpoint struct {
	*httptest.Server
	form   url.Values
	header http.Header
	calls  int
}

func serve(t *testing.T, h http.HandlerFunc) *endpoint {
	t.Helper()
	e := &endpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e.form, _ = url.ParseQuery(string(body))
		e.header, e.calls = r.Header, e.calls+1
		h(w, r)
	}))
	t.Cleanup(e.Close)
	return e
}

func answer(status int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		io.WriteString(w, body)
	}
}

func request(e *endpoint) oauth.Request {
	return oauth.Request{
		URL: e.URL + "/token", ClientID: "id&" + canary, ClientSecret: "secret+" + canary, RefreshToken: "refresh/" + canary,
		Transport: e.Client().Transport, Now: func() time.Time { return clock },
	}
}

// What is sent is what RFC 6749 and RFC 7523 say, and nothing that is empty.
func TestRequests(t *testing.T) {
	t.Parallel()
	e := serve(t, answer(200, `{"access_token":"a"}`))
	r := request(e)
	for name, c := range map[string]struct {
		ask  func() error
		form url.Values
	}{
		"refresh": {func() error { _, err := oauth.Refresh(t.Context(), r); return err },
			url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.RefreshToken}, "client_id": {r.ClientID}, "client_secret": {r.ClientSecret}}},
		"basic": {func() error { r := r; r.Basic = true; _, err := oauth.Refresh(t.Context(), r); return err },
			url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.RefreshToken}}},
		"secret": {func() error { r := r; r.Scope = "a b"; _, err := oauth.ClientCredentials(t.Context(), r); return err },
			url.Values{"grant_type": {"client_credentials"}, "scope": {"a b"}, "client_id": {r.ClientID}, "client_secret": {r.ClientSecret}}},
		"assertion": {func() error {
			_, err := oauth.ClientCredentials(t.Context(), oauth.Request{URL: r.URL, Transport: r.Transport, Assertion: "a.b.c"})
			return err
		}, url.Values{"grant_type": {"client_credentials"}, "client_assertion": {"a.b.c"},
			"client_assertion_type": {"urn:ietf:params:oauth:client-assertion-type:jwt-bearer"}}},
	} {
		if err := c.ask(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if e.form.Encode() != c.form.Encode() {
			t.Errorf("%s: sent %v, want %v", name, e.form, c.form)
		}
		id, secret, basic := (&http.Request{Header: e.header}).BasicAuth()
		if basic != (name == "basic") || basic && (id != url.QueryEscape(r.ClientID) || secret != url.QueryEscape(r.ClientSecret)) {
			t.Errorf("%s: basic %v %q %q", name, basic, id, secret)
		}
		if got := e.header.Get("Content-Type"); got != "application/x-www-form-urlencoded" {
			t.Errorf("%s: content type %q", name, got)
		}
	}
}

// A token is taken where it can be used; a lifetime that is odd never loses it, nor the refresh token that came with it.
func TestTokens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		body    string
		refresh string
		life    time.Duration
		margin  time.Duration
	}{
		"whole":           {`{"access_token":"a","token_type":"bearer","expires_in":1800,"refresh_token":"next"}`, "next", 30 * time.Minute, 450 * time.Second},
		"not rotated":     {`{"access_token":"a","expires_in":3600}`, "refresh/" + canary, time.Hour, 15 * time.Minute},
		"empty refresh":   {`{"access_token":"a","expires_in":3600,"refresh_token":""}`, "refresh/" + canary, time.Hour, 15 * time.Minute},
		"null refresh":    {`{"access_token":"a","expires_in":3600,"refresh_token":null}`, "refresh/" + canary, time.Hour, 15 * time.Minute},
		"string":          {`{"access_token":"a","expires_in":"3600"}`, "refresh/" + canary, time.Hour, 15 * time.Minute},
		"fraction":        {`{"access_token":"a","expires_in":3600.9}`, "refresh/" + canary, time.Hour, 15 * time.Minute},
		"long":            {`{"access_token":"a","expires_in":86400}`, "refresh/" + canary, 24 * time.Hour, time.Hour},
		"missing":         {`{"access_token":"a","refresh_token":"next"}`, "next", time.Hour, 15 * time.Minute},
		"no number":       {`{"access_token":"a","refresh_token":"next","expires_in":{"in":"a while"}}`, "next", time.Hour, 15 * time.Minute},
		"negative":        {`{"access_token":"a","expires_in":-5}`, "refresh/" + canary, time.Hour, 15 * time.Minute},
		"endless":         {`{"access_token":"a","expires_in":1e300}`, "refresh/" + canary, 365 * 24 * time.Hour, time.Hour},
		"an empty error":  {`{"access_token":"a","expires_in":3600,"error":""}`, "refresh/" + canary, time.Hour, 15 * time.Minute},
		"other fields":    {`{"access_token":"a","expires_in":3600,"scope":["x"],"hub_id":1}`, "refresh/" + canary, time.Hour, 15 * time.Minute},
		"space around it": {" {\"access_token\":\"a\",\"expires_in\":3600}\r\n", "refresh/" + canary, time.Hour, 15 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := serve(t, answer(200, c.body))
			got, err := oauth.Refresh(t.Context(), request(e))
			want := oauth.Token{AccessToken: "a", RefreshToken: c.refresh, ExpiresAt: clock.Add(c.life), RenewAt: clock.Add(c.life - c.margin)}
			if err != nil || got != want {
				t.Errorf("got %+v, %v; want %+v", got, err, want)
			}
		})
	}
}

// The lifetime counts from when the token was asked for: a slow answer makes it no longer.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	now := clock
	e := serve(t, func(w http.ResponseWriter, r *http.Request) {
		now = now.Add(10 * time.Second)
		answer(200, `{"access_token":"a","expires_in":60}`)(w, r)
	})
	r := request(e)
	r.Now = func() time.Time { return now }
	got, err := oauth.Refresh(t.Context(), r)
	if err != nil || !got.ExpiresAt.Equal(clock.Add(time.Minute)) {
		t.Errorf("got %+v, %v", got, err)
	}
}

// Every answer without a token has its kind, and its error repeats nothing of it or of what was sent (I7).
func TestRefusals(t *testing.T) {
	t.Parallel()
	vendor := func(_ int, body []byte) string {
		if bytes.Contains(body, []byte("BAD_REFRESH_TOKEN")) {
			return "invalid_grant"
		}
		return ""
	}
	code := func(c string) string { return fmt.Sprintf(`{"error":%q,"error_description":"%s"}`, c, canary) }
	for name, c := range map[string]struct {
		status int
		body   string
		kind   connectors.Kind
		say    string
	}{
		"invalid_grant":          {400, code("invalid_grant"), connectors.Unauthorized, "connect the account again (invalid_grant)"},
		"invalid_client":         {401, code("invalid_client"), connectors.Unauthorized, "the app's own credentials are refused"},
		"invalid_client by 400":  {400, code("invalid_client"), connectors.Unauthorized, "client ID and secret"},
		"access_denied":          {403, code("access_denied"), connectors.Unauthorized, "connect the account again"},
		"unauthorized_client":    {400, code("unauthorized_client"), connectors.Forbidden, "not allowed to get tokens in this way"},
		"invalid_scope":          {400, code("invalid_scope"), connectors.Forbidden, "scope"},
		"invalid_request":        {400, code("invalid_request"), connectors.Invalid, "does not understand"},
		"unsupported_grant_type": {400, code("unsupported_grant_type"), connectors.Invalid, "does not understand"},
		"server_error":           {400, code("server_error"), connectors.Unavailable, "can't answer now"},
		"slow_down":              {400, code("slow_down"), connectors.RateLimited, "too often"},
		"error by 200":           {200, code("invalid_grant"), connectors.Unauthorized, "connect the account again"},
		"token and error":        {500, `{"access_token":"` + canary + `"}`, connectors.Unavailable, "HTTP 500"},
		"the vendor's own":       {400, `{"status":"BAD_REFRESH_TOKEN","message":"` + canary + `"}`, connectors.Unauthorized, "connect the account again"},
		"its own by 503":         {503, `{"status":"BAD_REFRESH_TOKEN"}`, connectors.Unavailable, "HTTP 503"},
		"unknown code":           {400, code(canary), connectors.Invalid, "without a reason that is known"},
		"code is an object":      {400, `{"error":{"code":"` + canary + `"}}`, connectors.Invalid, "without a reason"},
		"bare 400":               {400, ``, connectors.Unavailable, "not JSON"},
		"bare 401":               {401, ``, connectors.Unauthorized, "HTTP 401"},
		"403 in JSON":            {403, `{"message":"` + canary + `"}`, connectors.Forbidden, "HTTP 403"},
		"403 of a firewall":      {403, `<html>` + canary, connectors.Unavailable, "not JSON"},
		"404":                    {404, `<html>` + canary, connectors.NotFound, "no token endpoint"},
		"408":                    {408, ``, connectors.Unavailable, "HTTP 408"},
		"429":                    {429, code("invalid_grant"), connectors.RateLimited, "too often"},
		"502":                    {502, `<html>` + canary, connectors.Unavailable, "HTTP 502"},
		"HTML by 200":            {200, `<html>` + canary + `</html>`, connectors.Unavailable, "maintenance page"},
		"truncated":              {200, `{"access_token":"` + canary, connectors.Unavailable, "no token"},
		"list":                   {200, `[{"access_token":"` + canary + `"}]`, connectors.Unavailable, "no token"},
		"no access token":        {200, `{"refresh_token":"` + canary + `"}`, connectors.Unavailable, "no token"},
		"number":                 {200, `{"access_token":1}`, connectors.Unavailable, "no token"},
		"empty":                  {200, `{"access_token":""}`, connectors.Unavailable, "no token"},
		"line break":             {200, `{"access_token":"` + canary + `\r\nX: y"}`, connectors.Unavailable, "no token"},
		"beyond ASCII":           {200, `{"access_token":"` + canary + `é"}`, connectors.Unavailable, "no token"},
		"odd refresh token":      {200, `{"access_token":"a","refresh_token":7}`, connectors.Unavailable, "no token"},
		"huge token":             {200, `{"access_token":"` + strings.Repeat("x", 17<<10) + `"}`, connectors.Unavailable, "no token"},
		"deep":                   {200, strings.Repeat(`{"a":`, 2000) + "1" + strings.Repeat("}", 2000), connectors.Unavailable, "no token"},
		"form":                   {200, `access_token=` + canary, connectors.Unavailable, "no token"},
		"204":                    {204, ``, connectors.Unavailable, "no token"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Retry-After", "7")
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			})
			r := request(e)
			r.ErrorCode = vendor
			got, err := oauth.Refresh(t.Context(), r)
			check(t, err, c.kind, c.say)
			if got != (oauth.Token{}) {
				t.Errorf("it returned a token")
			}
			if e := new(connectors.Error); errors.As(err, &e) && e.Wait != 7*time.Second {
				t.Errorf("it waits %v", e.Wait)
			}
		})
	}
}

// check wants a kind and words, and no canary.
func check(t *testing.T, err error, kind connectors.Kind, say string) {
	t.Helper()
	e, ok := err.(*connectors.Error)
	if !ok || e.Kind != kind || !strings.Contains(e.Error(), say) {
		t.Errorf("got %v; want %s that says %q", err, kind, say)
	}
	for ; err != nil; err = errors.Unwrap(err) {
		if strings.Contains(err.Error(), canary) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}

// An assertion that is refused is not a secret that is: the words differ.
func TestRefusedAssertion(t *testing.T) {
	t.Parallel()
	for code, say := range map[string]string{"invalid_grant": "this machine's clock", "invalid_client": "certificate"} {
		e := serve(t, answer(400, `{"error":"`+code+`"}`))
		_, err := oauth.ClientCredentials(t.Context(), oauth.Request{URL: e.URL, Transport: e.Client().Transport, Assertion: canary})
		check(t, err, connectors.Unauthorized, say)
	}
}

func TestNoRefreshToken(t *testing.T) {
	t.Parallel()
	e := serve(t, answer(200, `{"access_token":"a"}`))
	r := request(e)
	r.RefreshToken = ""
	_, err := oauth.Refresh(t.Context(), r)
	check(t, err, connectors.Unauthorized, "connect the account again")
	if e.calls != 0 {
		t.Error("the endpoint was asked")
	}
}

// The secrets go to the endpoint's host alone.
func TestRedirect(t *testing.T) {
	t.Parallel()
	other := serve(t, answer(200, `{"access_token":"a"}`))
	for _, status := range []int{302, 307, 308} {
		e := serve(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, status) })
		_, err := oauth.Refresh(t.Context(), request(e))
		check(t, err, connectors.Unavailable, "redirects")
	}
	if other.calls != 0 {
		t.Error("a redirect was followed")
	}
}

// An answer costs at most a megabyte, also one that unpacks to more.
func TestBoundedAnswer(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	endless := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"access_token":"a","x":"`)
		for block := bytes.Repeat([]byte("x"), 64<<10); sent.Load() < 256<<20; {
			n, err := w.Write(block)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	bomb := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		io.WriteString(z, `{"access_token":"a","x":"`)
		z.Write(bytes.Repeat([]byte("x"), 64<<20))
		z.Close()
	})
	for _, e := range []*endpoint{endless, bomb} {
		_, err := oauth.Refresh(t.Context(), request(e))
		check(t, err, connectors.Unavailable, "larger than 1 MiB")
	}
	// What is on the way in buffers counts too.
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("%d MiB were read", n>>20)
	}
	r := request(endless)
	r.Transport = outbound.Transport(outbound.Options{Allowed: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}, MaxBody: 4096})
	_, err := oauth.Refresh(t.Context(), r)
	check(t, err, connectors.Unavailable, "larger than")
}

// What keeps an answer away is Unavailable, and its error names no address.
func TestNoAnswer(t *testing.T) {
	t.Parallel()
	hanging := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	dripping := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		io.WriteString(w, `{"access_token":`)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	broken := serve(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for name, c := range map[string]struct {
		e   *endpoint
		say string
	}{"hanging": {hanging, "no answer in time"}, "dripping": {dripping, "no answer in time"}, "broken": {broken, "broke before an answer"}} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := oauth.Refresh(ctx, request(c.e))
		cancel()
		check(t, err, connectors.Unavailable, c.say)
		if err != nil && strings.Contains(err.Error(), "127.0.0.1") {
			t.Errorf("%s: %v names the address", name, err)
		}
	}
	_, err := oauth.Refresh(t.Context(), oauth.Request{URL: "https://" + canary + "\x7f", RefreshToken: canary})
	check(t, err, connectors.Invalid, "URL is not valid")
}

// FuzzAnswer feeds any answer: what comes of it is a token that can be used, or an error with a kind.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{`{"access_token":"a","expires_in":1}`, `{"error":"invalid_grant"}`, `<html>`, `{"access_token":"a\n"}`, `[`, ``} {
		f.Add(200, s)
		f.Add(400, s)
	}
	f.Fuzz(func(t *testing.T, status int, body string) {
		if status < 200 || status > 599 {
			return
		}
		r := oauth.Request{URL: "http://app.example/token", RefreshToken: "r", Transport: static{status, body}, Now: func() time.Time { return clock }}
		got, err := oauth.Refresh(t.Context(), r)
		if err == nil {
			raw, jerr := json.Marshal(got)
			if jerr != nil || got.AccessToken == "" || got.RefreshToken == "" || !got.ExpiresAt.After(clock) || got.RenewAt.After(got.ExpiresAt) {
				t.Fatalf("%s, %v", raw, jerr)
			}
			return
		}
		var e *connectors.Error
		if !errors.As(err, &e) || e.Kind == "" || e.Kind == connectors.Unknown {
			t.Fatalf("%#v", err)
		}
	})
}

type static struct {
	status int
	body   string
}

func (s static) RoundTrip(r *http.Request) (*http.Response, error) {
	io.Copy(io.Discard, r.Body)
	return &http.Response{StatusCode: s.status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(s.body)), Request: r}, nil
}
