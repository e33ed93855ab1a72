package outbound

import (
	"errors"
	"strings"
	"testing"

	"tributary/connectors"
)

func TestCheckURLRefusesWhatHidesAnAddressOrIsNotHTTPS(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"empty":                   "",
		"no scheme":               "example.com/hook",
		"relative":                "/hook",
		"opaque":                  "https:example.com",
		"no host":                 "https:///hook",
		"file":                    "file:///etc/passwd",
		"gopher":                  "gopher://example.com/",
		"javascript":              "javascript:alert(1)",
		"plain http":              "http://example.com/hook",
		"plain http to public":    "http://8.8.8.8/hook",
		"user":                    "https://user@example.com/",
		"user hides the host":     "https://example.com@10.0.0.1/",
		"password":                "https://user:s3cret@example.com/",
		"decimal":                 "https://2130706433/",
		"hexadecimal":             "https://0x7f000001/",
		"hexadecimal parts":       "https://0x7f.0x0.0x0.0x1/",
		"octal":                   "https://0177.0.0.1/",
		"leading zeros":           "https://010.000.000.001/",
		"short":                   "https://127.1/",
		"too many parts":          "https://1.2.3.4.5/",
		"out of range":            "https://256.1.1.1/",
		"number at the end":       "https://example.1/",
		"trailing dot":            "https://127.0.0.1./",
		"full-width digits":       "https://\uff11\uff12\uff17.\uff10.\uff10.\uff11/",
		"ideographic full stop":   "https://127。0。0。1/",
		"escaped":                 "https://%31%32%37.0.0.1/",
		"international":           "https://bücher.example/",
		"localhost":               "https://localhost/",
		"localhost, upper case":   "https://LOCALHOST/",
		"localhost, trailing dot": "https://localhost./",
		"below localhost":         "https://a.localhost/",
		"single label":            "https://metadata/",
		"backslash":               `https://example.com\@10.0.0.1/`,
		"space":                   "https://exa mple.com/",
		"line break":              "https://example.com/\r\nX-Evil: 1",
		"space in the path":       "https://example.com/a b",
		"space in the query":      "https://example.com/?a=b c",
		"international path":      "https://example.com/ü",
		"fragment":                "https://example.com/#there",
		"empty fragment":          "https://example.com/#",
		"empty label":             "https://example..com/",
		"leading dash":            "https://-example.com/",
		"port 0":                  "https://example.com:0/",
		"port too large":          "https://example.com:65536/",
		"port name":               "https://example.com:https/",
		"empty port":              "https://example.com:/",
		"long":                    "https://" + strings.Repeat("abcdefgh.", 32) + "com/",
	} {
		err := CheckURL(raw, nil)
		var e *connectors.Error
		if !errors.As(err, &e) || e.Kind != connectors.Invalid {
			t.Errorf("%s: got %v, want an error of kind invalid", name, err)
		} else if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the error repeats the password: %v", name, err)
		}
	}
}

func TestCheckURLAcceptsPublicEndpoints(t *testing.T) {
	t.Parallel()
	for _, raw := range []string{
		"https://example.com", "https://example.com/hook?token=a%20b", "https://Example.COM:8443/x", "https://a_b.example.com/",
		"https://xn--bcher-kva.example/", "https://1.example.com/", "https://example.com./", "https://8.8.8.8/", "https://[2606:4700:4700::1111]:8443/",
		"https://0x.example/", "HTTPS://example.com/",
	} {
		if err := CheckURL(raw, nil); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

// Names in allowed networks, such as a neighbour container's, may be short and plain; the dialer judges where they lead.
func TestCheckURLAcceptsLocalNamesWhereANetworkIsAllowed(t *testing.T) {
	t.Parallel()
	loopback, private := networks(t, "127.0.0.0/8"), networks(t, "10.0.0.0/8")
	for _, raw := range []string{"http://localhost:8080/", "https://localhost/", "http://receiver:8080/hook", "http://example.com/"} {
		if err := CheckURL(raw, loopback); err != nil {
			t.Errorf("%s: %v", raw, err)
		}
	}
	if CheckURL("http://localhost:8080/", private) == nil {
		t.Error("localhost is accepted although only another network is allowed")
	}
	if CheckURL("http://8.8.8.8/", loopback) == nil {
		t.Error("plain http to a public address is accepted")
	}
}

func FuzzCheckURL(f *testing.F) {
	for _, s := range []string{"https://example.com/", "https://[::1]:1/", "http://0x7f.1/", "https://u:p@h/#f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		if CheckURL(raw, nil) == nil && !strings.HasPrefix(strings.ToLower(raw), "https://") {
			t.Errorf("accepted %q", raw)
		}
	})
}
