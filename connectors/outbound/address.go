package outbound

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"time"

	"code.dny.dev/ssrf"
)

// ErrRefused is the cause of an error when an address that a name or URL leads to is not one to connect to.
var ErrRefused = errors.New("the address is inside the network or reserved")

// internet knows the addresses of the internet: IANA's global unicast ranges without those for special purposes (loopback,
// private, shared, link-local, metadata services, multicast, documentation, NAT64, 6to4, Teredo, ...). 168.63.129.16
// looks public, but inside Azure it is the host's own control endpoint.
var internet = ssrf.New(ssrf.WithAnyPort(), ssrf.WithDeniedV4Prefixes(netip.MustParsePrefix("168.63.129.16/32")))

// permit says whether addr may be connected to (I14): it lies in an allowed network or, unless onlyAllowed, in the internet.
func permit(addr netip.Addr, allowed []*net.IPNet, onlyAllowed bool) error {
	if contains(allowed, addr) {
		return nil
	}
	if onlyAllowed {
		return fmt.Errorf("%w or needs https: %s", ErrRefused, addr)
	}
	if internet.SafeAddr(addr) != nil {
		return fmt.Errorf("%w: %s", ErrRefused, addr)
	}
	return nil
}

func contains(networks []*net.IPNet, addr netip.Addr) bool {
	ip := net.IP(addr.Unmap().AsSlice())
	return slices.ContainsFunc(networks, func(n *net.IPNet) bool { return n.Contains(ip) })
}

// Dialer connects to hosts that users name, of databases too. Every candidate address is judged when the socket is about to
// connect, so a name whose answer changes after a check leads nowhere else. It gives up after 10 seconds; a caller may set
// another Timeout, but no Control.
func Dialer(allowed []*net.IPNet) *net.Dialer { return dialer(allowed, false) }

func dialer(allowed []*net.IPNet, onlyAllowed bool) *net.Dialer {
	return &net.Dialer{
		Timeout: 10 * time.Second,
		Control: func(network, address string, _ syscall.RawConn) error {
			if network != "tcp4" && network != "tcp6" {
				return fmt.Errorf("%w: network %s", ErrRefused, network)
			}
			target, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: not an address and port", ErrRefused)
			}
			return permit(target.Addr(), allowed, onlyAllowed)
		},
	}
}
