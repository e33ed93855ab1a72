package engine

import "testing"

func TestPrintable(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"workflow:customers/ada smith~": "workflow:customers/ada smith~",
		"workflow:a/ë\n\x7f":            "workflow:a/%C3%AB%0A%7F",
	} {
		if got := printable(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
