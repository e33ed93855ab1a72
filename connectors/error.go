package connectors

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"
)

// Kind classifies an error, and the kind alone decides what the engine does (I9). Kinds live in workflow
// histories: they are never renamed.
type Kind string

const (
	Invalid       Kind = "invalid"        // the request or the settings are wrong: stops the lane or stream and says so
	Forbidden     Kind = "forbidden"      // the credentials lack a right: stops and says so
	NotFound      Kind = "not_found"      // a table, topic or object that must exist doesn't: stops and says so
	Unauthorized  Kind = "unauthorized"   // the credentials are not accepted: needs reauthorization
	RateLimited   Kind = "rate_limited"   // come again after Wait
	TooLarge      Kind = "too_large"      // come again with half
	CursorExpired Kind = "cursor_expired" // the stream is read again from the beginning
	Gone          Kind = "gone"           // the receiving endpoint said 410: the lane is disabled until resumed
	Unavailable   Kind = "unavailable"    // the other side is down or unreachable: backs off
	Unknown       Kind = "unknown"        // nobody knows: backs off
)

// Kinds lists every kind.
var Kinds = []Kind{Invalid, Forbidden, NotFound, Unauthorized, RateLimited, TooLarge, CursorExpired, Gone, Unavailable, Unknown}

// Stops says that coming again is no use until somebody changes something.
func (k Kind) Stops() bool {
	switch k {
	case Invalid, Forbidden, NotFound, Unauthorized, Gone:
		return true
	}
	return false
}

// Error is the only error that a connector returns. Its text is shown to operators and stands in
// histories: it holds no secret and no payload (I7).
type Error struct {
	Kind Kind
	// Op is what was being done, such as "copy rows".
	Op string
	// Message says in plain words what is wrong and, where that is known, what to do.
	Message string
	// Wait is how long the other side asked to be left alone; 0 = it did not say. The engine clamps it
	// to MaxWait.
	Wait time.Duration
	// Err is the cause, for errors.Is; its text is not shown.
	Err error
}

// MaxWait is the longest that the engine waits because the other side asked for it.
const MaxWait = 6 * time.Hour

func (e *Error) Error() string {
	if e.Op == "" {
		return e.Message
	}
	return e.Op + ": " + e.Message
}

func (e *Error) Unwrap() error { return e.Err }

// Errorf makes an Error; an argument for %w becomes its cause, and its text part of the message, so it
// is for causes that are known to hold no secret.
func Errorf(kind Kind, op, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Kind: kind, Op: op, Message: Clip(err.Error(), 1000), Err: errors.Unwrap(err)}
}

// AsError returns err as an *Error: itself where it is one, Unavailable where a context or a connection
// ended, else Unknown. The text of a foreign error is not shown: it may quote a URL with a token in it, or
// a row (I7). What is shown is a fixed sentence and, where that says little, the error's Go types.
func AsError(op string, err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		if e == nil {
			return &Error{Kind: Unknown, Op: op, Message: "a nil *connectors.Error was returned as an error: the connector must return nil itself"}
		}
		return e
	}
	kind, message := explain(err)
	return &Error{Kind: kind, Op: op, Message: message, Err: err}
}

// weights orders the kinds: what somebody must see to comes after what passes by itself.
var weights = []Kind{Unknown, Unavailable, RateLimited, TooLarge, CursorExpired, Invalid, NotFound, Forbidden, Unauthorized, Gone}

// Weightier returns the one of two errors that says more about what is to be done, where only one can be returned: of equal kinds the one that
// asks for the longer wait, else the first. Either may be nil.
func Weightier(a, b *Error) *Error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	if cmp.Or(cmp.Compare(slices.Index(weights, b.Kind), slices.Index(weights, a.Kind)), cmp.Compare(b.Wait, a.Wait)) > 0 {
		return b
	}
	return a
}

// Clip cuts s to at most n bytes at a rune boundary and makes it valid UTF-8.
func Clip(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n]
	}
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	return s
}
