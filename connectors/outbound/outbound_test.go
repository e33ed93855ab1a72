package outbound

import (
	"net"
	"net/netip"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// networks parses CIDRs.
func networks(t *testing.T, cidrs ...string) []*net.IPNet {
	t.Helper()
	var all []*net.IPNet
	for _, cidr := range cidrs {
		_, n, err := net.ParseCIDR(cidr)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, n)
	}
	return all
}

// refused has an address or more of every family that is not of the internet.
var refused = map[string]string{
	"unspecified v4":           "0.0.0.0",
	"this network":             "0.1.2.3",
	"loopback":                 "127.0.0.1",
	"loopback, far end":        "127.255.255.254",
	"private 10":               "10.0.0.1",
	"private 172":              "172.31.255.255",
	"private 192":              "192.168.1.1",
	"shared (CGNAT)":           "100.64.0.1",
	"Alibaba metadata":         "100.100.100.200",
	"link-local":               "169.254.1.1",
	"AWS, GCP, Azure metadata": "169.254.169.254",
	"Azure wire server":        "168.63.129.16",
	"Oracle metadata":          "192.0.0.192",
	"documentation v4":         "192.0.2.1",
	"6to4 relay":               "192.88.99.1",
	"benchmarking":             "198.18.0.1",
	"multicast v4":             "224.0.0.1",
	"reserved":                 "240.0.0.1",
	"broadcast":                "255.255.255.255",
	"unspecified v6":           "::",
	"loopback v6":              "::1",
	"v4-compatible":            "::7f00:1",
	"v4-mapped loopback":       "::ffff:127.0.0.1",
	"v4-mapped public":         "::ffff:8.8.8.8",
	"v4-translated":            "::ffff:0:7f00:1",
	"NAT64":                    "64:ff9b::7f00:1",
	"NAT64, local use":         "64:ff9b:1::7f00:1",
	"discard":                  "100::1",
	"Teredo":                   "2001:0:7f00:1::1",
	"ORCHID":                   "2001:20::1",
	"documentation v6":         "2001:db8::1",
	"6to4":                     "2002:7f00:1::1",
	"unique local":             "fd00::1",
	"AWS metadata v6":          "fd00:ec2::254",
	"link-local v6":            "fe80::1",
	"link-local v6 with zone":  "fe80::1%lo",
	"site-local":               "fec0::1",
	"multicast v6":             "ff02::1",
}

var public = []string{"8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700:4700::1111", "2a00:1450:4001::1"}

// I14: what is not of the internet is refused when saved and when dialled, whichever family hides it.
func TestEveryAddressFamilyIsRefusedWhenSavedAndWhenDialled(t *testing.T) {
	t.Parallel()
	everything := []func(string) error{
		func(a string) error { return CheckURL("https://"+net.JoinHostPort(zoneInURL(a), "443")+"/hook", nil) },
		func(a string) error { return control(t, a, nil, false) },
	}
	for name, address := range refused {
		for i, check := range everything {
			if i == 1 && netip.MustParseAddr(address).Is4In6() {
				continue // the kernel gets the unmapped address, which the cases of IPv4 cover
			}
			if check(address) == nil {
				t.Errorf("%s: %s got through check %d", name, address, i)
			}
		}
	}
	for _, address := range public {
		for i, check := range everything {
			if err := check(address); err != nil {
				t.Errorf("%s: check %d: %v", address, i, err)
			}
		}
	}
}

// An allowed network opens itself and nothing beside it.
func TestAnAllowedNetworkIsReachableAndNothingElse(t *testing.T) {
	t.Parallel()
	allowed := networks(t, "127.0.0.0/8", "10.1.0.0/16", "fd00:1::/32")
	for address, want := range map[string]bool{
		"127.0.0.1": true, "::ffff:127.0.0.1": true, "10.1.2.3": true, "fd00:1::5": true,
		"10.2.0.1": false, "::1": false, "fd00:2::5": false, "169.254.169.254": false, "192.168.0.1": false,
	} {
		for _, scheme := range []string{"https", "http"} {
			err := CheckURL(scheme+"://"+net.JoinHostPort(address, "8443")+"/", allowed)
			if (err == nil) != want {
				t.Errorf("%s to %s: allowed %v, want %v: %v", scheme, address, err == nil, want, err)
			}
		}
		if err := control(t, address, allowed, true); (err == nil) != want {
			t.Errorf("dial %s: allowed %v, want %v: %v", address, err == nil, want, err)
		}
	}
	if err := control(t, "8.8.8.8", allowed, true); err == nil {
		t.Error("http may be dialled to an address that is not in an allowed network")
	}
}

// control asks the dialer's Control about an address, as the net package would.
func control(t *testing.T, address string, allowed []*net.IPNet, onlyAllowed bool) error {
	t.Helper()
	network := "tcp4"
	if netip.MustParseAddr(address).Is6() {
		network = "tcp6"
	}
	return dialer(allowed, onlyAllowed).Control(network, net.JoinHostPort(address, "443"), nil)
}

func zoneInURL(address string) string {
	a := netip.MustParseAddr(address)
	if a.Zone() == "" {
		return address
	}
	return a.WithZone("").String() + "%25" + a.Zone()
}
