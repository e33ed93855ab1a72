package segment

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// samples are records with every field at its extremes.
func samples() []connectors.Record {
	return []connectors.Record{
		{},
		{
			ID: "evt_1", Stream: "orders", Key: "gid://shop/Order/1", Op: connectors.Upsert, Version: 1 << 62,
			OccurredAt: time.Date(2024, 2, 29, 23, 59, 59, 999999999, time.UTC),
			ReceivedAt: time.Date(2024, 3, 1, 0, 0, 0, 1, time.UTC),
			Data:       []byte(`{"id": 1, "note": "é\u0000"}`),
		},
		{ID: strings.Repeat("i", connectors.MaxIDBytes), Stream: "../a b/%", Op: connectors.Delete, Version: -1 << 63},
		{ID: "\xff\xfe", Op: "something new", OccurredAt: time.Unix(-1<<40, 5).UTC(), Data: bytes.Repeat([]byte{0}, 70_000)},
	}
}

func sealed(t testing.TB, records []connectors.Record) []byte {
	t.Helper()
	b := NewBuilder()
	for _, r := range records {
		b.Add(r)
	}
	pieces, err := b.encode()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Join(pieces, nil)
}

func same(a, b connectors.Record) bool {
	return a.ID == b.ID && a.Stream == b.Stream && a.Key == b.Key && a.Op == b.Op && a.Version == b.Version &&
		a.OccurredAt.Equal(b.OccurredAt) && a.ReceivedAt.Equal(b.ReceivedAt) && bytes.Equal(a.Data, b.Data)
}

// Every field but Ordinal comes back as it went in, whatever is in it, and unknown times stay unknown.
func TestRoundTrip(t *testing.T) {
	t.Parallel()
	want := samples()
	want[1].Ordinal = 17
	s, err := decode(sealed(t, want))
	if err != nil {
		t.Fatal(err)
	}
	if s.Len() != len(want) {
		t.Fatalf("Len = %d, want %d", s.Len(), len(want))
	}
	seen := 0
	for i, r := range s.Records() {
		if i != seen || !same(r, want[i]) || r.Ordinal != 0 {
			t.Errorf("record %d = %+v, want %+v", i, r, want[i])
		}
		if r.OccurredAt.IsZero() != want[i].OccurredAt.IsZero() {
			t.Errorf("record %d: an unknown time became %v", i, r.OccurredAt)
		}
		seen++
	}
	if seen != len(want) {
		t.Errorf("saw %d records, want %d", seen, len(want))
	}
}

// Appending to a record's Data can't reach its neighbour's.
func TestDataIsCapped(t *testing.T) {
	t.Parallel()
	s, err := decode(sealed(t, []connectors.Record{{Data: []byte("one")}, {Data: []byte("two")}}))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range s.Records() {
		_ = append(r.Data, "XXX"...)
	}
	for i, r := range s.Records() {
		if want := []string{"one", "two"}[i]; string(r.Data) != want {
			t.Errorf("record %d: %q, want %q", i, r.Data, want)
		}
	}
}

// Slice yields the same records as Records, for bounds on and off the marks, and stops when told.
func TestSlice(t *testing.T) {
	t.Parallel()
	var want []connectors.Record
	for i := range 3*markEvery + 5 {
		want = append(want, connectors.Record{ID: strings.Repeat("x", i%7), Version: int64(i), Data: make([]byte, i%11)})
	}
	s, err := decode(sealed(t, want))
	if err != nil {
		t.Fatal(err)
	}
	for _, bounds := range [][2]int{{0, 0}, {0, 1}, {0, len(want)}, {1, 300}, {255, 257}, {256, 512}, {511, 773}, {len(want), len(want)}} {
		from, to := bounds[0], bounds[1]
		next := from
		for i, r := range s.Slice(from, to) {
			if i != next || !same(r, want[i]) {
				t.Fatalf("Slice(%d, %d): record %d = %+v, want index %d", from, to, i, r, next)
			}
			next++
		}
		if next != to {
			t.Errorf("Slice(%d, %d) ended at %d", from, to, next)
		}
	}
	for i := range s.Slice(10, 20) {
		if i == 12 {
			break
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("Slice past the end did not panic")
		}
	}()
	s.Slice(0, len(want)+1)
}

// A reset builder makes the same object as a new one.
func TestBuilderReset(t *testing.T) {
	t.Parallel()
	b := NewBuilder()
	b.Add(connectors.Record{ID: "gone", Data: []byte("gone")})
	b.Reset()
	if b.Len() != 0 || b.Bytes() != 0 {
		t.Fatalf("after Reset: %d records, %d bytes", b.Len(), b.Bytes())
	}
	for _, r := range samples() {
		b.Add(r)
	}
	pieces, err := b.encode()
	if err != nil {
		t.Fatal(err)
	}
	if want := sealed(t, samples()); !bytes.Equal(bytes.Join(pieces, nil), want) || b.Size() != int64(len(want)) {
		t.Error("differs from a new builder's")
	}
}

// The bound on objects holds before anything is written.
func TestBuilderTooLarge(t *testing.T) {
	t.Parallel()
	b := NewBuilder()
	b.data = make([]byte, MaxObjectBytes)
	if _, err := b.encode(); err == nil || !strings.Contains(err.Error(), "fewer records") {
		t.Errorf("err = %v, want the limit and what to do", err)
	}
}

// Any single changed bit, any cut and any added byte is found.
func TestDamageIsFound(t *testing.T) {
	t.Parallel()
	good := sealed(t, samples()[1:3])
	for i := range good {
		for _, bit := range []byte{1, 0x80} {
			bad := slices.Clone(good)
			bad[i] ^= bit
			if _, err := decode(bad); err == nil {
				t.Errorf("bit %#x of byte %d changed: no error", bit, i)
			}
		}
		if _, err := decode(slices.Clone(good[:i])); !errors.Is(err, ErrDamaged) {
			t.Errorf("cut to %d bytes: %v, want ErrDamaged", i, err)
		}
	}
	if _, err := decode(append(slices.Clone(good), 0)); !errors.Is(err, ErrDamaged) {
		t.Errorf("a byte more: %v, want ErrDamaged", err)
	}
}

// reseal makes the checksum of hostile bytes right, so that they get past it.
func reseal(b []byte) []byte {
	if len(b) < headerBytes+trailerBytes {
		return b
	}
	b = slices.Clone(b)
	end := len(b) - trailerBytes
	binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	return b
}

// Lengths that lie are refused even below a right checksum, those of the header before anything is
// allocated for them.
func TestHostileLengths(t *testing.T) {
	t.Parallel()
	good := sealed(t, samples()[1:3])
	for name, test := range map[string]struct {
		change func(b []byte)
		want   string
	}{
		"more records than fit":   {func(b []byte) { binary.LittleEndian.PutUint32(b[8:], 1<<32-1) }, "header"},
		"metadata past the end":   {func(b []byte) { binary.LittleEndian.PutUint32(b[12:], 1<<32-1) }, "header"},
		"data past the end":       {func(b []byte) { binary.LittleEndian.PutUint64(b[16:], 1<<64-1) }, "header"},
		"reserved bytes":          {func(b []byte) { b[6] = 1 }, "header"},
		"data over the metadata":  {func(b []byte) { b[12]--; b[16]++ }, "record 1 of 2"},
		"one record more":         {func(b []byte) { b[8]++ }, "record 2 of 3"},
		"one record fewer":        {func(b []byte) { b[8]-- }, "behind the last"},
		"string past the end":     {func(b []byte) { copy(b[headerBytes:], "\xff\x7f") }, "record 0 of 2"},
		"string of 2^63 bytes":    {func(b []byte) { copy(b[headerBytes:], "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01") }, "record 0 of 2"},
		"length of over 64 bits":  {func(b []byte) { copy(b[headerBytes:], "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02") }, "record 0 of 2"},
		"length that never stops": {func(b []byte) { copy(b[headerBytes:], bytes.Repeat([]byte{0x80}, 20)) }, "record 0 of 2"},
	} {
		bad := slices.Clone(good)
		test.change(bad)
		if _, err := decode(reseal(bad)); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want ErrDamaged about %q", name, err, test.want)
		}
	}
}

// A later format is told apart from damage, with what to do.
func TestLaterVersion(t *testing.T) {
	t.Parallel()
	b := sealed(t, nil)
	b[4] = version + 1
	if _, err := decode(reseal(b)); err == nil || errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "release") {
		t.Errorf("err = %v, want one about releases", err)
	}
}

// FuzzLoad: no bytes make reading panic or yield more than they hold, and what decodes encodes to
// records that decode to the same.
func FuzzLoad(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte(magic))
	f.Add(sealed(f, nil))
	f.Add(sealed(f, samples()[:3]))
	cut := sealed(f, samples()[1:2])
	cut[headerBytes] = 0xff
	f.Add(cut)
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, b := range [][]byte{b, reseal(b)} {
			s, err := decode(b)
			if err != nil {
				continue
			}
			var records []connectors.Record
			held := 0
			for _, r := range s.Records() {
				records = append(records, r)
				held += len(r.ID) + len(r.Stream) + len(r.Key) + len(r.Op) + len(r.Data)
			}
			if len(records) != s.Len() || held > len(b) {
				t.Fatalf("%d records of %d bytes from an object of %d records, %d bytes", len(records), held, s.Len(), len(b))
			}
			again, err := decode(sealed(t, records))
			if err != nil {
				t.Fatal(err)
			}
			for i, r := range again.Records() {
				if !same(r, records[i]) {
					t.Fatalf("record %d changed: %+v, was %+v", i, r, records[i])
				}
			}
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	r := samples()[1]
	r.Data = make([]byte, 500)
	builder := NewBuilder()
	b.SetBytes(500)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%5000 == 4999 {
			if _, err := builder.encode(); err != nil {
				b.Fatal(err)
			}
			builder.Reset()
		}
		builder.Add(r)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkRead(b *testing.B) {
	r := samples()[1]
	r.Data = make([]byte, 500)
	object := sealed(b, slices.Repeat([]connectors.Record{r}, 5000))
	b.SetBytes(500)
	b.ReportAllocs()
	read, bytes := 0, 0
	for b.Loop() {
		if read%5000 == 0 {
			s, err := decode(object)
			if err != nil {
				b.Fatal(err)
			}
			for _, r := range s.Records() {
				bytes += len(r.Data)
			}
		}
		read++
	}
	if bytes < read*500 {
		b.Fatalf("read %d bytes of %d records", bytes, read)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
