package outbound

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"

	"tributary/connectors"
)

// A URL gives the parts as they are meant, and what is no such URL is refused without a word of the password.
func TestParseServer(t *testing.T) {
	t.Parallel()
	s, query, err := ParseServer("mariadb://ada%40x:p%40%2Fss@[::1]:3307/shop?ssl-mode=required", "mysql", "mariadb")
	if want := (Server{Host: "::1", Port: 3307, Database: "shop", User: "ada@x", Password: "p@/ss"}); err != nil || s != want || query.Get("ssl-mode") != "required" {
		t.Errorf("got %+v, %v, %v", s, query, err)
	}
	if s.Address() != "[::1]:3307" || s.Problems() != nil {
		t.Errorf("the address is %s, the problems are %q", s.Address(), s.Problems())
	}
	for _, raw := range []string{"postgres://ada:canary@h/d", "mysql://ada:can%zzary@h/d", "mysql://ada:canary@h:many/d", "canary"} {
		_, _, err := ParseServer(raw, "mysql", "mariadb")
		if err == nil || connectors.AsError("", err).Kind != connectors.Invalid || strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if problems := (Server{Host: "a,b", Database: "\x00", Port: 65536}).Problems(); len(problems) != 4 {
		t.Errorf("the problems are %q", problems)
	}
}

// What keeps a server away is said with its address and what to do; what the user has to mend stops.
func TestUnreached(t *testing.T) {
	t.Parallel()
	advice := Advice{Public: "give a public host", Trusted: "give its authority", Plain: "turn it off"}
	for _, test := range []struct {
		err  error
		kind connectors.Kind
		says []string
	}{
		{context.DeadlineExceeded, connectors.Unavailable, []string{"timed out or cancelled at"}},
		{&net.OpError{Op: "dial", Err: ErrRefused}, connectors.Invalid, []string{"inside the network", "give a public host, or let the operator"}},
		{x509.UnknownAuthorityError{}, connectors.Invalid, []string{"not to be trusted", "give its authority"}},
		{x509.HostnameError{Certificate: &x509.Certificate{}}, connectors.Invalid, []string{"not to be trusted"}},
		{errors.Join(ErrNoTLS, errors.New("a word of the server's")), connectors.Invalid, []string{"does not speak TLS", "turn it off if"}},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "db.example.com", IsNotFound: true}}, connectors.Unavailable, []string{"the name db.example.com is not found"}},
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, connectors.Unavailable, []string{"can't reach", "refused"}},
		{errors.New("a word of the server's"), connectors.Unavailable, []string{"failed"}},
	} {
		e := advice.Unreached("connect", "db.example.com:5432", fmt.Errorf("wrapped: %w", test.err))
		for _, part := range append(test.says, "db.example.com") {
			if !strings.Contains(e.Message, part) {
				t.Errorf("%v: %q does not say %q", test.err, e.Message, part)
			}
		}
		if e.Kind != test.kind || e.Op != "connect" || strings.Contains(e.Message, "a word") || !errors.Is(e, e.Err) {
			t.Errorf("%v: got %+v", test.err, e)
		}
	}
}
