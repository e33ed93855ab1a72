package outbound

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"tributary/connectors"
)

var (
	hostRule = regexp.MustCompile(`^[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?(\.[A-Za-z0-9_]([A-Za-z0-9_-]*[A-Za-z0-9_])?)*\.?$`)
	// numberRule finds names that inet_aton and browsers read as an IPv4 address: 2130706433, 0x7f.1, 0177.0.0.1.
	numberRule = regexp.MustCompile(`^([0-9]+|0[xX][0-9a-fA-F]*)$`)
)

// CheckURL refuses, when it is saved, a URL that must not be called (I14): another scheme than https, a user in it, or a host
// that is inside the network or is written so that it may hide such an address. http will do only for hosts in an allowed
// network. It resolves nothing: what a name leads to is judged when it is dialled. The error is of kind Invalid and does not
// repeat the URL, which may hold a token.
func CheckURL(raw string, allowed []*net.IPNet) error {
	_, err := parseURL(raw, allowed)
	if err != nil {
		return err
	}
	return nil
}

func parseURL(raw string, allowed []*net.IPNet) (*url.URL, *connectors.Error) {
	invalid := func(format string, args ...any) (*url.URL, *connectors.Error) {
		return nil, connectors.Errorf(connectors.Invalid, "url", format, args...)
	}
	u, err := url.Parse(raw)
	switch {
	case raw == "":
		return invalid("missing; give one such as https://example.com/hook")
	case err != nil || u.Opaque != "" || u.Host == "":
		return invalid("not a URL such as https://example.com/hook")
	case u.Scheme != "https" && u.Scheme != "http":
		return invalid("the scheme must be https")
	case u.User != nil:
		return invalid("no user or password may stand in it")
	case strings.Contains(raw, "#"):
		return invalid("no fragment (#...) may stand in it: it would not be sent")
	}
	if _, port, found := strings.Cut(u.Host[strings.LastIndex(u.Host, "]")+1:], ":"); found {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return invalid("the port must be a number from 1 to 65535")
		}
	}
	if err := checkHost(u, allowed); err != nil {
		return nil, err
	}
	// What is called, and perhaps signed, must be what was written.
	if strings.ContainsFunc(raw, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
		return invalid("spaces and characters outside of ASCII must be percent-encoded")
	}
	return u, nil
}

func checkHost(u *url.URL, allowed []*net.IPNet) *connectors.Error {
	invalid := func(format string, args ...any) *connectors.Error {
		return connectors.Errorf(connectors.Invalid, "url", format, args...)
	}
	const inside = "the host is inside the network or reserved: give a public one, or let the operator allow its network"
	const plain = "the scheme must be https: http is only for hosts in a network that the operator allows"
	host := u.Hostname()
	if addr, err := netip.ParseAddr(host); err == nil {
		switch {
		case permit(addr, allowed, false) != nil:
			return invalid(inside)
		case u.Scheme == "http" && !contains(allowed, addr):
			return invalid(plain)
		}
		return nil
	}
	if len(host) > 253 || !hostRule.MatchString(host) {
		return invalid("the host must be a name of letters, digits, dashes and dots (write an international one in its xn-- form) or an IP address")
	}
	labels := strings.Split(strings.ToLower(strings.TrimSuffix(host, ".")), ".")
	last := labels[len(labels)-1]
	loopback := contains(allowed, netip.AddrFrom4([4]byte{127, 0, 0, 1})) || contains(allowed, netip.IPv6Loopback())
	switch {
	case numberRule.MatchString(last):
		return invalid("an IPv4 host must be four decimal numbers without leading zeros, such as 198.51.100.7")
	case last == "localhost" && !loopback:
		return invalid(inside)
	// A name without a dot is looked up in the operator's own domain.
	case len(labels) == 1 && len(allowed) == 0:
		return invalid("the host must be a full name, such as hooks.example.com")
	case u.Scheme == "http" && len(allowed) == 0:
		return invalid(plain)
	}
	return nil
}

// CheckEndpoint is CheckURL for what stands for a vendor's own hosts: it is to be a scheme and a host alone. Empty is right: the vendor's.
func CheckEndpoint(raw string, allowed []*net.IPNet) error {
	if raw == "" {
		return nil
	}
	if err := CheckURL(raw, allowed); err != nil {
		return connectors.Errorf(connectors.Invalid, "connection", "endpoint: %s", connectors.AsError("", err).Message)
	}
	if u, err := url.Parse(raw); err != nil || u.RawQuery != "" || u.Path != "" && u.Path != "/" {
		return connectors.Errorf(connectors.Invalid, "connection", "endpoint: want a scheme and a host alone, without a path, such as https://storage.example.com")
	}
	return nil
}
