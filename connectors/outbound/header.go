package outbound

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// HeaderProblem says why a header of the settings may not be sent, or "". own are the names, or with a dash at the end the beginnings of
// names, that the connector sets itself.
func HeaderProblem(name, value string, own ...string) string {
	name = http.CanonicalHeaderKey(name)
	transport := []string{"Host", "Connection", "Keep-Alive", "Transfer-Encoding", "Te", "Trailer", "Upgrade", "Expect", "Content-Length", "Content-Encoding", "Proxy-"}
	taken := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return name == n || strings.HasSuffix(n, "-") && strings.HasPrefix(name, n) })
	}
	switch {
	case !httpguts.ValidHeaderFieldName(name):
		return "is no name of a header"
	case !httpguts.ValidHeaderFieldValue(value):
		return "has a value with control characters"
	case name == "Authorization" || name == "Cookie" || name == "Proxy-Authorization":
		return "is a secret and does not belong in settings"
	case taken(transport) || taken(own):
		return "is a header that the connector sets itself"
	}
	return ""
}

// HeaderText percent-encodes what may not stand in a header, as section 3.1.3.2 of the CloudEvents HTTP binding says: all but
// printable ASCII, and space, double quote and percent.
func HeaderText(s string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	for i := range len(s) {
		if plain(s[i]) {
			continue
		}
		var b strings.Builder
		for i := range len(s) {
			if plain(s[i]) {
				b.WriteByte(s[i])
			} else {
				fmt.Fprintf(&b, "%%%02X", s[i])
			}
		}
		return b.String()
	}
	return s
}
