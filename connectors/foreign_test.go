package connectors

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
)

// rowError stands for a driver's error that quotes the row.
type rowError struct{ row string }

func (e rowError) Error() string { return "duplicate key: " + e.row }

// A foreign error becomes a class or its types, never its text (I7).
func TestAsErrorShowsNoForeignText(t *testing.T) {
	t.Parallel()
	const canary = "canary-7f3a"
	at := "https://user:" + canary + "@app.example/?token=" + canary
	refused := &net.OpError{Op: "dial " + canary, Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	for name, c := range map[string]struct {
		err  error
		kind Kind
		want string
	}{
		"plain":      {errors.New(canary), Unknown, "*errors.errorString"},
		"wrapped":    {fmt.Errorf("%s: %w", canary, rowError{canary}), Unknown, "*fmt.wrapError, caused by connectors.rowError"},
		"joined":     {errors.Join(rowError{canary}, io.EOF), Unknown, "*errors.joinError, caused by connectors.rowError"},
		"url":        {&url.Error{Op: "Get", URL: at, Err: io.EOF}, Unknown, "*url.Error, caused by *errors.errorString"},
		"deadline":   {&url.Error{Op: "Get", URL: at, Err: context.DeadlineExceeded}, Unavailable, "timed out or cancelled"},
		"cancelled":  {fmt.Errorf("%s: %w", canary, context.Canceled), Unavailable, "timed out or cancelled"},
		"timeout":    {&url.Error{Op: "Get", URL: at, Err: os.ErrDeadlineExceeded}, Unavailable, "no answer in time"},
		"no host":    {&url.Error{Op: "Get", URL: at, Err: &net.DNSError{Name: canary, IsNotFound: true}}, Unavailable, "does not exist"},
		"no DNS":     {&net.DNSError{Name: canary, Err: canary}, Unavailable, "could not be resolved"},
		"refused":    {&url.Error{Op: "Get", URL: at, Err: refused}, Unavailable, "connection refused"},
		"connection": {&net.OpError{Op: "read", Err: errors.New(canary)}, Unavailable, "the connection failed"},
		"file":       {&os.PathError{Op: "open", Path: canary, Err: syscall.EACCES}, Unknown, "permission denied"},
		"nil error":  {(*Error)(nil), Unknown, "nil *connectors.Error"},
	} {
		e := AsError("do", c.err)
		if e.Kind != c.kind || !strings.Contains(e.Error(), c.want) || strings.Contains(e.Error(), canary) {
			t.Errorf("%s: got %s %q; want %s with %q and no canary", name, e.Kind, e, c.kind, c.want)
		}
	}
}

// What a connector explained stays as it is, however deep it lies; no error stays none.
func TestAsErrorKeepsTheConnectorsOwn(t *testing.T) {
	t.Parallel()
	known := Errorf(RateLimited, "fetch", "too fast")
	if got := AsError("do", fmt.Errorf("around: %w", known)); error(got) != known {
		t.Errorf("got %v", got)
	}
	if AsError("do", nil) != nil {
		t.Error("nil became an error")
	}
}
