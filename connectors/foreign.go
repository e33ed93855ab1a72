package connectors

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// explain classifies an error that no connector has explained, without a word of its own text. The system's
// own words for an errno are fixed and safe.
func explain(err error) (Kind, string) {
	var (
		dns   *net.DNSError
		timed net.Error
		conn  *net.OpError
		errno syscall.Errno
	)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return Unavailable, "timed out or cancelled"
	case errors.As(err, &dns) && dns.IsNotFound:
		return Unavailable, "the host name does not exist"
	case errors.As(err, &dns):
		return Unavailable, "the host name could not be resolved"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timed) && timed.Timeout():
		return Unavailable, "no answer in time"
	case errors.As(err, &conn) && errors.As(err, &errno):
		return Unavailable, "the connection failed: " + errno.Error()
	case errors.As(err, &conn):
		return Unavailable, "the connection failed"
	case errors.As(err, &errno):
		return Unknown, "the system refused: " + errno.Error()
	}
	return Unknown, "an unexplained error of type " + types(err) + "; its text may hold secrets and is not shown"
}

// maxTypes bounds how many causes are named.
const maxTypes = 6

// types names the Go types of an error and its causes, the outermost first; of joined errors it follows the first.
func types(err error) string {
	var names []string
	for err != nil && len(names) < maxTypes {
		names = append(names, fmt.Sprintf("%T", err))
		switch e := err.(type) {
		case interface{ Unwrap() []error }:
			if causes := e.Unwrap(); len(causes) > 0 {
				err = causes[0]
			} else {
				err = nil
			}
		default:
			err = errors.Unwrap(err)
		}
	}
	return strings.Join(names, ", caused by ")
}
