package activities

import (
	"bytes"
	"maps"
	"testing"
	"time"
)

// FuzzBookmark feeds the decoder any bytes: it gives an error or what encodes to the same cursor and set again.
func FuzzBookmark(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(encode([]byte("cursor"), memory{fingerprintOf("a"): 1, fingerprintOf("b"): -1}))
	f.Add(encode([]byte{}, nil))
	f.Add([]byte{bookmarkVersion, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{bookmarkVersion})
	f.Add([]byte{2, 0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		cursor, m, err := decode(raw)
		if err != nil {
			if cursor != nil || m != nil {
				t.Error("an error and a result")
			}
			return
		}
		if len(cursor)+len(m)*24 > len(raw) {
			t.Fatalf("%d bytes became a cursor of %d and %d fingerprints", len(raw), len(cursor), len(m))
		}
		again, n, err := decode(encode(cursor, m))
		if err != nil || !bytes.Equal(again, cursor) || !maps.Equal(n, m) {
			t.Errorf("%x does not survive: %v", raw, err)
		}
		if len(raw) > 0 && again == nil {
			t.Error("a cursor became none: the stream would be read from the beginning")
		}
	})
}

// Every prefix of a bookmark is refused, or is one without some of the fingerprints: none gives another cursor.
func TestCutBookmark(t *testing.T) {
	t.Parallel()
	whole := encode([]byte("cursor"), memory{fingerprintOf("a"): 1, fingerprintOf("b"): 2})
	for n := 1; n < len(whole); n++ {
		cursor, m, err := decode(whole[:n])
		if err == nil && (string(cursor) != "cursor" || (len(whole)-n)%24 != 0 || len(m) > 1) {
			t.Errorf("%d bytes of %d gave cursor %q and %d fingerprints", n, len(whole), cursor, len(m))
		}
	}
}

// forget keeps what is not older than the time given.
func TestForget(t *testing.T) {
	t.Parallel()
	at := time.UnixMicro(10)
	m := memory{fingerprintOf("before"): 9, fingerprintOf("at"): 10, fingerprintOf("after"): 11}
	m.forget(at)
	if _, kept := m[fingerprintOf("before")]; kept || len(m) != 2 {
		t.Errorf("%d are left", len(m))
	}
}
