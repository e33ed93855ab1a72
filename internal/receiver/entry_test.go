package receiver

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/segment"
	"tributary/workflows"
)

func sampleRecords() []connectors.Record {
	return []connectors.Record{
		{ID: "a", Stream: "orders", Key: "1", Op: connectors.Upsert, Version: 7, OccurredAt: time.Date(2026, 1, 2, 3, 4, 5, 6, time.UTC), Data: []byte(`{"a":1}`)},
		{ID: "b", Stream: "orders", Op: connectors.Delete, Version: -1, Data: []byte("\x00\xff not JSON")},
		{ID: "ü", Stream: "customers", Key: "k", Op: connectors.Upsert, OccurredAt: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), Data: []byte{}},
	}
}

// What goes into an entry comes out of it, payloads byte for byte (I8).
func TestRecordsEntryRoundTrip(t *testing.T) {
	t.Parallel()
	received := time.Date(2026, 5, 6, 7, 8, 9, 1234, time.UTC)
	in := sampleRecords()
	b := appendRecords(nil, "epoch", "integration/user", received, in)
	h, err := decodeHeader(b[1:])
	if err != nil || b[0] != entryRecords || h.epoch != "epoch" || h.installation != "integration/user" || h.records != 3 {
		t.Fatalf("header: %+v, %v", h, err)
	}
	out, err := h.decode(nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range in {
		in[i].ReceivedAt = received
	}
	if !reflect.DeepEqual(in, out) {
		t.Fatalf("got %+v\nwant %+v", out, in)
	}
}

// An entry that was cut anywhere, or has something behind it, is refused and not read in part.
func TestRecordsEntryCut(t *testing.T) {
	t.Parallel()
	whole := appendRecords(nil, "epoch", "installation", time.Now(), sampleRecords())
	for n := 1; n < len(whole); n++ {
		h, err := decodeHeader(whole[1:n])
		if err != nil {
			continue
		}
		if _, err := h.decode(nil); err == nil {
			t.Fatalf("an entry cut to %d of %d bytes was read", n, len(whole))
		}
	}
	h, err := decodeHeader(append(whole[1:len(whole):len(whole)], 0))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.decode(nil); err == nil {
		t.Fatal("a byte behind the last record was overlooked")
	}
}

func sampleIntent() *intent {
	return &intent{Installation: "i/u", Arrival: workflows.Arrival{Epoch: "e", Journal: "j", From: 3, To: 9,
		Segments: []segment.Ref{{Name: "e/s/j-3", Stream: "s", Records: 2, Bytes: 5}}, At: time.Now().UTC().Round(0)}}
}

func TestIntentEntryRoundTrip(t *testing.T) {
	t.Parallel()
	in := sampleIntent()
	b, err := encodeIntent(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := decodeIntent(b[1:])
	if err != nil {
		t.Fatal(err)
	}
	in.size = int64(len(b))
	if !reflect.DeepEqual(in, out) {
		t.Fatalf("got %+v\nwant %+v", out, in)
	}
	for _, bad := range []string{`{}`, `[]`, `{"i":"x","e":"e","f":9,"t":3,"s":[{}]}`, `{"i":"x","e":"e","f":1,"t":3}`} {
		if _, err := decodeIntent([]byte(bad)); err == nil {
			t.Errorf("%s was taken for an intent", bad)
		}
	}
}

// Whatever stands in a journal, decoding neither panics nor asks for more memory than the entry has; what it accepts
// encodes to the same again.
func FuzzEntry(f *testing.F) {
	f.Add(appendRecords(nil, "epoch", "installation", time.Now(), sampleRecords()))
	f.Add(appendRecords(nil, "", "", time.Time{}, nil))
	b, _ := encodeIntent(sampleIntent())
	f.Add(b)
	b, _ = encodeAcks(acks{"e": 4})
	f.Add(b)
	f.Add([]byte{entryRecords, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) == 0 {
			return
		}
		_, _ = decodeIntent(data[1:])
		_, _ = decodeAcks(data[1:])
		h, err := decodeHeader(data[1:])
		if err != nil {
			return
		}
		records, err := h.decode(nil)
		if err != nil {
			return
		}
		again := appendRecords(nil, h.epoch, h.installation, h.received, records)
		h2, err := decodeHeader(again[1:])
		if err != nil {
			t.Fatal(err)
		}
		if h2.epoch != h.epoch || h2.installation != h.installation || !h2.received.Equal(h.received) {
			t.Fatalf("header %+v became %+v", h, h2)
		}
		records2, err := h2.decode(nil)
		if err != nil || len(records2) != len(records) {
			t.Fatalf("%d records became %d: %v", len(records), len(records2), err)
		}
		for i := range records {
			a, b := records[i], records2[i]
			if a.ID != b.ID || a.Stream != b.Stream || a.Key != b.Key || a.Op != b.Op || a.Version != b.Version ||
				!a.OccurredAt.Equal(b.OccurredAt) || !bytes.Equal(a.Data, b.Data) {
				t.Fatalf("record %+v became %+v", a, b)
			}
		}
	})
}
