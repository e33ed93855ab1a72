package delivery

import (
	"net/http"
	"strconv"
	"time"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// kinds says what the status of an HTTP answer (RFC 9110, section 15) means; what is not in it goes by its class.
var kinds = map[int]connectors.Kind{
	401: connectors.Unauthorized,
	402: connectors.Forbidden,
	403: connectors.Forbidden,
	404: connectors.NotFound,
	407: connectors.Unauthorized,
	408: connectors.Unavailable,
	410: connectors.Gone,
	421: connectors.Unavailable,
	425: connectors.Unavailable,
	429: connectors.RateLimited,
	451: connectors.Forbidden,
}

var classes = map[int]connectors.Kind{3: connectors.Invalid, 4: connectors.Invalid, 5: connectors.Unavailable}

// refusals are the statuses by which an endpoint refuses what it was sent, for ever.
var refusals = map[int]bool{400: true, 409: true, 413: true, 422: true, 431: true}

// Judge reads an answer by its status. Of all that the answer holds only that is told (I7); advice says by kind what to do about it.
// Wait is Retry-After where the status says to come again.
func Judge(op string, status int, header http.Header, now time.Time, advice map[connectors.Kind]string) Verdict {
	if status/100 == 2 {
		return Verdict{}
	}
	kind, known := kinds[status]
	if !known {
		kind, known = classes[status/100]
	}
	if !known {
		kind = connectors.Unknown
	}
	tail := advice[kind]
	switch {
	case refusals[status]:
		tail = "it does not accept this record"
	case status/100 == 3:
		tail = "redirects are not followed; set the final URL"
	}
	v := Verdict{Err: Answered(kind, op, status, tail), Refused: refusals[status]}
	if kind == connectors.Unavailable || kind == connectors.RateLimited {
		v.Err.Wait = outbound.RetryAfter(header.Get("Retry-After"), now)
	}
	return v
}

// Answered is the error of a status, with what to do about it.
func Answered(kind connectors.Kind, op string, status int, advice string) *connectors.Error {
	message := "the endpoint answered " + strconv.Itoa(status)
	if text := http.StatusText(status); text != "" {
		message += " " + text
	}
	if advice != "" {
		message += ": " + advice
	}
	return connectors.Errorf(kind, op, "%s", message)
}
