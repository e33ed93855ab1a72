package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"tributary/connectors"
)

// silent is for servers whose clients break off handshakes on purpose.
var silent = log.New(io.Discard, "", 0)

// serve runs an HTTP server on a loopback address of its own choice.
func serve(t *testing.T, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s
}

// client is a Client whose idle connections end with the test.
func client(t *testing.T, o Options) *http.Client {
	t.Helper()
	c := Client(o)
	t.Cleanup(c.CloseIdleConnections)
	return c
}

func get(t *testing.T, c *http.Client, url string) (status int, body string, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res.StatusCode, string(b), err
}

// I14: the dialer itself refuses, whatever was checked before.
func TestClientAndDialerRefuseTheNetworkUnlessAllowed(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	s := serve(t, func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	for _, o := range []Options{{}, {Allowed: networks(t, "10.0.0.0/8")}} {
		if _, _, err := get(t, client(t, o), s.URL); !errors.Is(err, ErrRefused) {
			t.Errorf("got %v, want ErrRefused", err)
		}
		if conn, err := Dialer(o.Allowed).DialContext(t.Context(), "tcp", s.Listener.Addr().String()); !errors.Is(err, ErrRefused) {
			t.Errorf("dialer: got %v, want ErrRefused", err)
			if err == nil {
				conn.Close()
			}
		}
	}
	if calls.Load() != 0 {
		t.Fatal("the server was reached")
	}
	if status, _, err := get(t, client(t, Options{Allowed: networks(t, "127.0.0.0/8")}), s.URL); status != 200 {
		t.Errorf("allowed: status %d, %v", status, err)
	}
}

func TestClientRefusesOtherSchemes(t *testing.T) {
	t.Parallel()
	for _, url := range []string{"ftp://example.com/", "file:///etc/passwd", "unix:///run/x"} {
		if _, _, err := get(t, client(t, Options{}), url); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v, want ErrRefused", url, err)
		}
	}
}

// A name that led to an allowed address when it was checked, and leads inside when it is dialled again, is refused then.
func TestADNSAnswerThatChangesIsRefusedAtDial(t *testing.T) {
	t.Parallel()
	outside := listen(t, "127.0.0.2:0")
	_, port, _ := net.SplitHostPort(outside.Addr().String())
	inside := listen(t, "127.0.0.3:"+port)
	var reached atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(http.LocalAddrContextKey).(net.Addr).String() == inside.Addr().String() {
			reached.Add(1)
		}
	})
	for _, l := range []net.Listener{outside, inside} {
		s := &http.Server{Handler: handler}
		go s.Serve(l)
		t.Cleanup(func() { s.Close() })
	}
	var answer atomic.Value
	answer.Store([]string{"127.0.0.2"})
	o := Options{Allowed: networks(t, "127.0.0.2/32"), Resolver: resolver(t, func() []string { return answer.Load().([]string) })}
	url := "http://hooks.example.com:" + port + "/"

	if err := Probe(t.Context(), url, o); err != nil {
		t.Fatalf("check: %v", err)
	}
	if status, _, err := get(t, client(t, o), url); status != 200 {
		t.Fatalf("first call: status %d, %v", status, err)
	}
	answer.Store([]string{"127.0.0.3"})
	if _, _, err := get(t, client(t, o), url); !errors.Is(err, ErrRefused) {
		t.Errorf("after the answer changed: got %v, want ErrRefused", err)
	}
	if err := Probe(t.Context(), url, o); !errors.Is(err, ErrRefused) {
		t.Errorf("check after the answer changed: got %v, want ErrRefused", err)
	}
	// Each candidate is judged by itself: the permitted one is found behind the refused one.
	answer.Store([]string{"127.0.0.3", "127.0.0.2"})
	if status, _, err := get(t, client(t, o), url); status != 200 {
		t.Errorf("two candidates: status %d, %v", status, err)
	}
	if reached.Load() != 0 {
		t.Error("the address inside was reached")
	}
}

func TestANameThatLeadsInsideIsRefused(t *testing.T) {
	t.Parallel()
	o := Options{Resolver: resolver(t, func() []string { return []string{"127.0.0.1"} })}
	if _, _, err := get(t, client(t, o), "https://hooks.example.com/"); !errors.Is(err, ErrRefused) {
		t.Errorf("got %v, want ErrRefused", err)
	}
}

func TestRedirectsAreHandedOverAndNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{300, 301, 302, 303, 304, 307, 308} {
		for _, location := range []string{"/next", "http://169.254.169.254/", "://", ""} {
			var calls atomic.Int64
			s := serve(t, func(w http.ResponseWriter, r *http.Request) {
				calls.Add(1)
				if location != "" {
					w.Header()["Location"] = []string{location}
				}
				w.WriteHeader(status)
			})
			c := client(t, Options{Allowed: networks(t, "127.0.0.0/8")})
			res, err := c.Post(s.URL, "application/json", strings.NewReader("{}"))
			if err != nil {
				t.Errorf("%d to %q: %v", status, location, err)
				continue
			}
			res.Body.Close()
			if res.StatusCode != status || calls.Load() != 1 {
				t.Errorf("%d to %q: status %d after %d calls", status, location, res.StatusCode, calls.Load())
			}
		}
	}
}

// The proxy variables are read once a process, so this proves the setting and not the effect.
func TestProxyVariablesAreIgnored(t *testing.T) {
	t.Parallel()
	tr := Transport(Options{}).(*transport)
	if tr.plain.Proxy != nil || tr.secure.Proxy != nil {
		t.Error("a proxy function is set")
	}
}

func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	endless := serve(t, func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, 4096)); err != nil {
				return
			}
		}
	})
	var bomb atomic.Bool
	headers := serve(t, func(w http.ResponseWriter, r *http.Request) {
		bomb.Store(r.Header.Get("Accept-Encoding") != "")
		w.Header().Set("X-Long", strings.Repeat("x", 2*maxHeaderBytes))
	})
	c := client(t, Options{Allowed: networks(t, "127.0.0.0/8"), MaxBody: 10_000})
	_, body, err := get(t, c, endless.URL)
	var tooLarge *http.MaxBytesError
	if !errors.As(err, &tooLarge) || len(body) != 10_000 {
		t.Errorf("endless body: %d bytes, %v", len(body), err)
	}
	if _, _, err := get(t, c, headers.URL); err == nil {
		t.Error("a header of 128 KiB was accepted")
	}
	if bomb.Load() {
		t.Error("compressed answers are asked for")
	}
}

// Each stage ends by itself: a host that never finishes the handshake, one that never answers, and one whose body never ends.
func TestEachStageTimesOut(t *testing.T) {
	t.Parallel()
	mute := listen(t, "127.0.0.1:0")
	done := make(chan struct{})
	var open sync.WaitGroup
	open.Go(func() {
		for {
			conn, err := mute.Accept()
			if err != nil {
				return
			}
			open.Go(func() { defer conn.Close(); <-done })
		}
	})
	t.Cleanup(func() { close(done); mute.Close(); open.Wait() })
	drip := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	allowed := networks(t, "127.0.0.0/8")
	for name, try := range map[string]func() error{
		"handshake": func() error {
			_, _, err := get(t, client(t, Options{Allowed: allowed, Connect: 50 * time.Millisecond}), "https://"+mute.Addr().String())
			return err
		},
		"handshake of a probe": func() error {
			return Probe(t.Context(), "https://"+mute.Addr().String(), Options{Allowed: allowed, Connect: 50 * time.Millisecond})
		},
		"header": func() error {
			_, _, err := get(t, client(t, Options{Allowed: allowed, Timeout: 50 * time.Millisecond}), "http://"+mute.Addr().String())
			return err
		},
		"body": func() error {
			_, _, err := get(t, client(t, Options{Allowed: allowed, Timeout: 50 * time.Millisecond}), drip.URL)
			return err
		},
	} {
		begun := time.Now()
		e := AsError("call", try())
		if e == nil || e.Kind != connectors.Unavailable || e.Message != "no answer in time" {
			t.Errorf("%s: got %v", name, e)
		}
		if took := time.Since(begun); took > 10*time.Second {
			t.Errorf("%s: took %v", name, took)
		}
	}
}

// Sixteen requests at once keep sixteen connections for the next sixteen; over HTTP/2 all share the one that is there.
func TestConnectionsAreKept(t *testing.T) {
	t.Parallel()
	const n = 16
	for _, http2 := range []bool{false, true} {
		var connections atomic.Int64
		barrier := make(chan struct{}, n)
		release := make(chan struct{})
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if (r.ProtoMajor == 2) != http2 {
				t.Errorf("protocol %s", r.Proto)
			}
			barrier <- struct{}{}
			<-release
		}))
		s.EnableHTTP2 = http2
		s.Config.ErrorLog = silent
		s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				connections.Add(1)
			}
		}
		s.StartTLS()
		t.Cleanup(s.Close)
		c := client(t, Options{Allowed: networks(t, "127.0.0.0/8"), Concurrency: n, RootCAs: roots(s)})
		for _, n := range []int{1, n, n} {
			var all sync.WaitGroup
			for range n {
				all.Go(func() {
					if status, _, err := get(t, c, s.URL); status != 200 {
						t.Errorf("status %d, %v", status, err)
					}
				})
			}
			for range n {
				<-barrier
			}
			for range n {
				release <- struct{}{}
			}
			all.Wait()
		}
		want := int64(n)
		if http2 {
			want = 1
		}
		if got := connections.Load(); got != want {
			t.Errorf("HTTP/2 %v: %d connections, want %d", http2, got, want)
		}
	}
}

func TestProbeConnectsAndSendsNothing(t *testing.T) {
	t.Parallel()
	var calls atomic.Int64
	count := http.HandlerFunc(func(http.ResponseWriter, *http.Request) { calls.Add(1) })
	plain, secure := serve(t, count), httptest.NewUnstartedServer(count)
	secure.Config.ErrorLog = silent
	secure.StartTLS()
	t.Cleanup(secure.Close)
	closed := listen(t, "127.0.0.1:0")
	closed.Close()
	old := httptest.NewUnstartedServer(count)
	old.Config.ErrorLog = silent
	old.TLS = &tls.Config{MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10}
	old.StartTLS()
	t.Cleanup(old.Close)

	allowed := networks(t, "127.0.0.0/8")
	for name, c := range map[string]struct {
		url  string
		o    Options
		want string
	}{
		"http":               {plain.URL, Options{Allowed: allowed}, ""},
		"https":              {secure.URL, Options{Allowed: allowed, RootCAs: roots(secure)}, ""},
		"unknown authority":  {secure.URL, Options{Allowed: allowed}, "connect: the host's certificate is from an authority that is not trusted"},
		"not TLS":            {"https://" + plain.Listener.Addr().String(), Options{Allowed: allowed}, "connect: the host does not speak TLS on this port"},
		"TLS 1.1":            {old.URL, Options{Allowed: allowed, RootCAs: roots(old)}, "connect: the host refused the TLS handshake; version 1.2 or later is needed"},
		"nobody listens":     {"http://" + closed.Addr().String(), Options{Allowed: allowed}, "connect: the host refuses connections"},
		"refused when saved": {secure.URL, Options{}, "url: the host is inside the network or reserved: give a public one, or let the operator allow its network"},
		"another name": {"https://hooks.example.net:" + portOf(secure), Options{Allowed: allowed, RootCAs: roots(secure), Resolver: resolver(t, func() []string { return []string{"127.0.0.1"} })},
			"connect: the host's certificate is for another name"},
		"refused when dialled": {"https://hooks.example.com:" + portOf(secure), Options{Resolver: resolver(t, func() []string { return []string{"127.0.0.1"} })},
			"connect: the host's address is inside the network or reserved: give a public host, or let the operator allow its network"},
		"no such name": {"https://hooks.example.com/", Options{Resolver: resolver(t, func() []string { return nil })}, "connect: the host name does not exist"},
	} {
		err := Probe(t.Context(), c.url, c.o)
		var e *connectors.Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.want != "" && (!errors.As(err, &e) || err.Error() != c.want):
			t.Errorf("%s: got %v, want %s", name, err, c.want)
		}
	}
	if calls.Load() != 0 {
		t.Errorf("%d requests were sent", calls.Load())
	}
}

// I7: neither the URL, nor addresses, nor what the other side sent shows in an error.
func TestErrorsHoldNoURLAndNothingOfTheAnswer(t *testing.T) {
	t.Parallel()
	l := listen(t, "127.0.0.1:0")
	var served sync.WaitGroup
	served.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			conn.Read(make([]byte, 4096))
			io.WriteString(conn, "canary-answer\r\n\r\n")
			conn.Close()
		}
	})
	t.Cleanup(func() { l.Close(); served.Wait() })
	_, _, err := get(t, client(t, Options{Allowed: networks(t, "127.0.0.0/8")}), "http://"+l.Addr().String()+"/canary-path?token=canary-token")
	e := AsError("call", err)
	if e == nil || e.Kind != connectors.Unavailable {
		t.Fatalf("got %v", e)
	}
	for _, secret := range []string{"canary", "127.0.0.1"} {
		if strings.Contains(e.Error(), secret) {
			t.Errorf("the error holds %q: %s", secret, e)
		}
	}
	if AsError("call", nil) != nil {
		t.Error("no error became one")
	}
	known := connectors.Errorf(connectors.Gone, "", "gone")
	if AsError("call", known) != known {
		t.Error("an *Error was changed")
	}
	if e := AsError("call", context.Canceled); e.Kind != connectors.Unavailable || e.Message != "cancelled" {
		t.Errorf("cancelled: got %v", e)
	}
}

func roots(s *httptest.Server) *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return pool
}

func portOf(s *httptest.Server) string { return strconv.Itoa(s.Listener.Addr().(*net.TCPAddr).Port) }

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// resolver asks a DNS server of this test, whose A records are what answer returns; none means that there is no such name.
func resolver(t *testing.T, answer func() []string) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var served sync.WaitGroup
	served.Go(func() {
		packet := make([]byte, 1500)
		for {
			n, from, err := conn.ReadFrom(packet)
			if err != nil {
				return
			}
			var query dnsmessage.Message
			if err := query.Unpack(packet[:n]); err != nil {
				t.Errorf("DNS query: %v", err)
				continue
			}
			reply := dnsmessage.Message{Header: dnsmessage.Header{ID: query.ID, Response: true, Authoritative: true}, Questions: query.Questions}
			addresses := answer()
			if addresses == nil {
				reply.RCode = dnsmessage.RCodeNameError
			}
			if query.Questions[0].Type == dnsmessage.TypeA {
				for _, a := range addresses {
					reply.Answers = append(reply.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: query.Questions[0].Name, Class: dnsmessage.ClassINET},
						Body:   &dnsmessage.AResource{A: [4]byte(net.ParseIP(a).To4())},
					})
				}
			}
			packed, err := reply.Pack()
			if err != nil {
				t.Errorf("DNS reply: %v", err)
				continue
			}
			conn.WriteTo(packed, from)
		}
	})
	t.Cleanup(func() { conn.Close(); served.Wait() })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", conn.LocalAddr().String())
	}}
}
