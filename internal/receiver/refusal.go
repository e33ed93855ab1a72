package receiver

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"tributary/connectors"
)

// refusal is an answer other than a success. Its text is fixed: it tells a sender nothing that it doesn't know (I7).
type refusal struct {
	status int
	reason string // the metric's label
	text   string
	retry  time.Duration // Retry-After; 0 = none
	hangUp bool          // the rest of the request is not read
	cause  error         // for the log
}

var (
	refuseUnknown    = &refusal{status: http.StatusNotFound, reason: "unknown", text: "no such webhook URL"}
	refuseEnded      = &refusal{status: http.StatusGone, reason: "ended", text: "this installation has ended: stop sending"}
	refusePressure   = &refusal{status: http.StatusTooManyRequests, reason: "pressure", text: "too much is waiting for delivery", retry: 30 * time.Second}
	refuseRate       = &refusal{status: http.StatusTooManyRequests, reason: "rate", text: "too many requests", retry: time.Second}
	refuseBusy       = &refusal{status: http.StatusServiceUnavailable, reason: "busy", text: "too many requests at once", retry: time.Second}
	refuseMethod     = &refusal{status: http.StatusMethodNotAllowed, reason: "method", text: "send webhooks by POST"}
	refuseTooLarge   = &refusal{status: http.StatusRequestEntityTooLarge, reason: "body", text: "the body is too large", hangUp: true}
	refuseSlow       = &refusal{status: http.StatusRequestTimeout, reason: "slow", text: "the request took too long", hangUp: true}
	refuseBroken     = &refusal{status: http.StatusBadRequest, reason: "broken", text: "the body could not be read", hangUp: true}
	refusePanic      = &refusal{status: http.StatusInternalServerError, reason: "panic", text: "the webhook could not be processed"}
	refuseFull       = &refusal{status: http.StatusServiceUnavailable, reason: "journal_full", text: "no room at the moment", retry: 10 * time.Second}
	refuseDirectory  = &refusal{status: http.StatusServiceUnavailable, reason: "catalog", text: "temporarily unavailable", retry: 5 * time.Second}
	refuseOpen       = &refusal{status: http.StatusServiceUnavailable, reason: "open", text: "temporarily unavailable", retry: 10 * time.Second}
	refuseJournal    = &refusal{status: http.StatusServiceUnavailable, reason: "journal", text: "temporarily unavailable", retry: 5 * time.Second}
	refuseQuarantine = &refusal{status: http.StatusServiceUnavailable, reason: "quarantine", text: "temporarily unavailable", retry: 5 * time.Second}
	refuseSignature  = &refusal{status: http.StatusUnauthorized, reason: "signature", text: "the signature was not accepted"}
	refuseInvalid    = &refusal{status: http.StatusBadRequest, reason: "invalid", text: "the webhook was not understood"}
	refuseConnector  = &refusal{status: http.StatusInternalServerError, reason: "connector", text: "the webhook could not be processed"}
)

// because is r with what caused it.
func (r *refusal) because(err error) *refusal {
	c := *r
	c.cause = err
	return &c
}

// refuseReceive says what becomes of a delivery that a connector did not accept; the kind alone decides (I9).
func refuseReceive(err error) *refusal {
	e := connectors.AsError("receive", err)
	switch e.Kind {
	case connectors.Unauthorized:
		return refuseSignature.because(e)
	case connectors.Invalid:
		return refuseInvalid.because(e)
	case connectors.TooLarge:
		return refuseTooLarge
	case connectors.RateLimited, connectors.Unavailable:
		r := refuseOpen.because(e)
		if e.Wait > 0 {
			r.retry = min(e.Wait, connectors.MaxWait)
		}
		return r
	}
	return refuseConnector.because(e)
}

func (r *refusal) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	if r.retry > 0 {
		h.Set("Retry-After", strconv.Itoa(int((r.retry+time.Second-1)/time.Second)))
	}
	if r.status == http.StatusMethodNotAllowed {
		h.Set("Allow", "GET, POST")
	}
	if r.hangUp {
		h.Set("Connection", "close")
	}
	w.WriteHeader(r.status)
	_, _ = w.Write(append([]byte(r.text), '\n'))
}

// isKind reports whether err is a connector's error of that kind.
func isKind(err error, kind connectors.Kind) bool {
	var e *connectors.Error
	return errors.As(err, &e) && e.Kind == kind
}
