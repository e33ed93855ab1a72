package outbound

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"tributary/connectors"
)

// RetryAfter reads a Retry-After header (RFC 9110, section 10.2.3): seconds, also with a fraction as some apps write them, or
// an HTTP date. What is past, negative or not understood is 0; what is too long is connectors.MaxWait.
func RetryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	if header == "" {
		return 0
	}
	if strings.Trim(header, "0123456789.") == "" {
		seconds, err := strconv.ParseFloat(header, 64)
		switch {
		case seconds > connectors.MaxWait.Seconds(): // infinite, too, with a range error
			return connectors.MaxWait
		case err != nil:
			return 0
		}
		return time.Duration(math.Ceil(seconds * float64(time.Second)))
	}
	at, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(now), 0), connectors.MaxWait)
}
