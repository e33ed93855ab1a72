package receiver

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tributary/connectors"
	"tributary/workflows"
)

// A journal entry is one byte that says what it is, and its content. The values stand in journals on disk: they are
// never renumbered.
const (
	entryRecords = 1 // what one webhook brought for one epoch
	entryIntent  = 2 // an Arrival that is about to be signalled
	entryAcks    = 3 // the Arrivals that workflows have taken
	entryProbe   = 4 // nothing: a health check that writes
)

// A records entry: epoch, installation (each a length and bytes), time received (Unix nanoseconds), number of records,
// and of each record: flags, ID, stream, key, version, time it occurred (seconds and nanoseconds, where the flag says
// so), data. Numbers are varints of encoding/binary.
const (
	flagDelete   = 1
	flagOccurred = 2
)

// minRecord is the least that a record takes, so that a false count can't ask for much memory.
const minRecord = 6

var errTruncated = errors.New("entry is cut short")

// appendRecords encodes a records entry. Ordinal and each record's own ReceivedAt are not part of it: the time is the
// request's.
func appendRecords(b []byte, epoch, installation string, received time.Time, records []connectors.Record) []byte {
	b = append(b, entryRecords)
	b = appendString(b, epoch)
	b = appendString(b, installation)
	b = binary.AppendVarint(b, received.UnixNano())
	b = binary.AppendUvarint(b, uint64(len(records)))
	for i := range records {
		r := &records[i]
		var flags byte
		if r.Op == connectors.Delete {
			flags |= flagDelete
		}
		if !r.OccurredAt.IsZero() {
			flags |= flagOccurred
		}
		b = append(b, flags)
		b = appendString(b, r.ID)
		b = appendString(b, r.Stream)
		b = appendString(b, r.Key)
		b = binary.AppendVarint(b, r.Version)
		if flags&flagOccurred != 0 {
			b = binary.AppendVarint(b, r.OccurredAt.Unix())
			b = binary.AppendUvarint(b, uint64(r.OccurredAt.Nanosecond()))
		}
		b = binary.AppendUvarint(b, uint64(len(r.Data)))
		b = append(b, r.Data...)
	}
	return b
}

// sizeOf is at least what appendRecords appends.
func sizeOf(epoch, installation string, records []connectors.Record) int {
	n := len(epoch) + len(installation) + 5*binary.MaxVarintLen64
	for i := range records {
		r := &records[i]
		n += len(r.ID) + len(r.Stream) + len(r.Key) + len(r.Data) + 7*binary.MaxVarintLen64
	}
	return n
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

// recordsHeader is what the forwarder needs of a records entry before it seals it.
type recordsHeader struct {
	epoch, installation string
	received            time.Time
	records             int
	body                []byte
}

// decodeHeader reads the head of a records entry, the byte that says so taken off.
func decodeHeader(data []byte) (recordsHeader, error) {
	d := decoder{b: data}
	h := recordsHeader{epoch: d.string(), installation: d.string(), received: time.Unix(0, d.varint()).UTC()}
	n := d.uvarint()
	switch {
	case d.err != nil:
		return recordsHeader{}, d.err
	case n > uint64(len(d.b)/minRecord):
		return recordsHeader{}, errTruncated
	}
	h.records, h.body = int(n), d.b
	return h, nil
}

// decode appends the entry's records to dst; their Data shares the entry's memory.
func (h recordsHeader) decode(dst []connectors.Record) ([]connectors.Record, error) {
	d := decoder{b: h.body}
	stream := ""
	for range h.records {
		r := connectors.Record{Op: connectors.Upsert, ReceivedAt: h.received}
		flags := d.byte()
		if flags&flagDelete != 0 {
			r.Op = connectors.Delete
		}
		r.ID = d.string()
		if s := d.bytes(); string(s) != stream {
			stream = string(s)
		}
		r.Stream = stream
		r.Key = d.string()
		r.Version = d.varint()
		if flags&flagOccurred != 0 {
			seconds, nanos := d.varint(), d.uvarint()
			if nanos >= uint64(time.Second) {
				return dst, fmt.Errorf("entry has a time of %d nanoseconds", nanos)
			}
			r.OccurredAt = time.Unix(seconds, int64(nanos)).UTC()
		}
		r.Data = d.bytes()
		switch {
		case d.err != nil:
			return dst, d.err
		case flags&^(flagDelete|flagOccurred) != 0:
			return dst, fmt.Errorf("entry has a record with unknown flags %#x", flags)
		}
		dst = append(dst, r)
	}
	if len(d.b) != 0 {
		return dst, fmt.Errorf("entry has %d bytes after its last record", len(d.b))
	}
	return dst, nil
}

// decoder reads fields off b; after the first error it gives zero values.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) byte() byte {
	if d.err != nil || len(d.b) == 0 {
		d.fail()
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if d.err != nil || n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if d.err != nil || n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if d.err != nil || n > uint64(len(d.b)) {
		d.fail()
		return nil
	}
	v := d.b[:n:n]
	d.b = d.b[n:]
	return v
}

func (d *decoder) string() string { return string(d.bytes()) }

func (d *decoder) fail() {
	if d.err == nil {
		d.err = errTruncated
	}
	d.b = nil
}

// intent is an Arrival that the forwarder has bound itself to: once it may stand in the journal it is never changed, only
// sent, as often as it takes.
type intent struct {
	Installation string `json:"i"`
	workflows.Arrival

	// index is where its latest copy stands in the journal and offset how much the forwarder had read by then; size is
	// that of the encoded entry.
	index  uint64
	offset int64
	size   int64
}

func (it *intent) records() int {
	n := 0
	for _, ref := range it.Segments {
		n += ref.Records
	}
	return n
}

func encodeIntent(it *intent) ([]byte, error) {
	b, err := json.Marshal(it)
	if err != nil {
		return nil, fmt.Errorf("encode intent: %w", err)
	}
	return append([]byte{entryIntent}, b...), nil
}

// decodeIntent reads an intent entry, the byte that says so taken off.
func decodeIntent(data []byte) (*intent, error) {
	it := new(intent)
	if err := json.Unmarshal(data, it); err != nil {
		return nil, fmt.Errorf("entry is no intent: %w", err)
	}
	if it.Epoch == "" || it.Installation == "" || it.From == 0 || it.To < it.From || len(it.Segments) == 0 {
		return nil, errors.New("entry is an incomplete intent")
	}
	it.size = int64(len(data) + 1)
	return it, nil
}

// acks maps an epoch to the To of the last of its Arrivals that its workflow has taken.
type acks map[string]uint64

func encodeAcks(a acks) ([]byte, error) {
	b, err := json.Marshal(a)
	if err != nil {
		return nil, fmt.Errorf("encode acknowledgements: %w", err)
	}
	return append([]byte{entryAcks}, b...), nil
}

func decodeAcks(data []byte) (acks, error) {
	var a acks
	if err := json.Unmarshal(data, &a); err != nil {
		return nil, fmt.Errorf("entry holds no acknowledgements: %w", err)
	}
	return a, nil
}
