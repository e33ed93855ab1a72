package segment

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"iter"
	"slices"
	"time"

	"tributary/connectors"
)

// A sealed segment, version 1. Numbers of the header and the trailer are little-endian.
//
//	offset 0   "TRSG"
//	       4   version, one byte
//	       5   three zero bytes
//	       8   records, uint32
//	      12   length of the metadata, uint32
//	      16   length of the data, uint64
//	      24   metadata: a frame for each record
//	           data: the payloads, one after the other
//	           CRC-32C of everything before, uint32
//
// A frame is ID, stream, key and op, each a uvarint length and its bytes; version, varint; the times of
// occurring and of receiving, each Unix seconds as varint and nanoseconds as uvarint; the length of the
// payload, uvarint. Metadata and data lie apart so that reading one never copies the other.
const (
	magic        = "TRSG"
	version      = 1
	headerBytes  = 24
	trailerBytes = 4
	// The shortest frame: four empty strings, a version, two times, a length. The year 1, which stands
	// for an unknown time, takes more, but a hostile writer needn't care.
	minFrameBytes = 10
)

// MaxObjectBytes bounds a sealed segment and every other object of a store, because an object is read
// into memory as a whole. A batch of 50,000 records of 1 KB is a fifth of it.
const MaxObjectBytes = 256 << 20

// ErrDamaged marks an object whose bytes are not those that were sealed.
var ErrDamaged = errors.New("damaged")

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // done in hardware on amd64 and arm64

// Builder collects records for a segment. The zero Builder is ready for use; it is not safe for
// concurrent use.
type Builder struct {
	meta, data []byte
	records    int
}

// NewBuilder returns an empty Builder.
func NewBuilder() *Builder { return &Builder{} }

// Grow makes room for payloads of so many bytes at once, so that they are not copied again and again as they come.
func (b *Builder) Grow(bytes int) { b.data = slices.Grow(b.data, bytes) }

// Add copies r, all but its Ordinal, which belongs to the lanes. Times keep their instant to the
// nanosecond and lose their location.
func (b *Builder) Add(r connectors.Record) {
	m := b.meta
	m = appendString(m, r.ID)
	m = appendString(m, r.Stream)
	m = appendString(m, r.Key)
	m = appendString(m, string(r.Op))
	m = binary.AppendVarint(m, r.Version)
	m = appendTime(m, r.OccurredAt)
	m = appendTime(m, r.ReceivedAt)
	b.meta = binary.AppendUvarint(m, uint64(len(r.Data)))
	b.data = append(b.data, r.Data...)
	b.records++
}

// Len is the number of records.
func (b *Builder) Len() int { return b.records }

// Bytes is the length of all payloads.
func (b *Builder) Bytes() int64 { return int64(len(b.data)) }

// Size is the length that the sealed object would have; it must not pass MaxObjectBytes.
func (b *Builder) Size() int64 {
	return headerBytes + int64(len(b.meta)) + int64(len(b.data)) + trailerBytes
}

// Reset empties b and keeps its memory.
func (b *Builder) Reset() {
	b.meta, b.data, b.records = b.meta[:0], b.data[:0], 0
}

// encode returns the object in pieces that share b's memory.
func (b *Builder) encode() ([][]byte, error) {
	if b.Size() > MaxObjectBytes {
		return nil, fmt.Errorf("%d bytes in %d records pass the limit of %d: seal fewer records at once",
			b.Size(), b.records, MaxObjectBytes)
	}
	header := make([]byte, headerBytes)
	copy(header, magic)
	header[4] = version
	binary.LittleEndian.PutUint32(header[8:], uint32(b.records))
	binary.LittleEndian.PutUint32(header[12:], uint32(len(b.meta)))
	binary.LittleEndian.PutUint64(header[16:], uint64(len(b.data)))
	sum := crc32.Update(0, castagnoli, header)
	sum = crc32.Update(sum, castagnoli, b.meta)
	sum = crc32.Update(sum, castagnoli, b.data)
	return [][]byte{header, b.meta, b.data, binary.LittleEndian.AppendUint32(nil, sum)}, nil
}

// Segment is a sealed run of records, verified and held in memory. It is safe for concurrent use.
type Segment struct {
	meta    string // strings of records are substrings of it
	data    []byte
	records int
	marks   []mark // of every markEvery-th record
}

// mark is where a record's frame and payload start.
type mark struct{ meta, data int }

// markEvery records, Slice can start reading without passing over what comes before.
const markEvery = 256

// decode verifies b and takes it over. It trusts no length in it.
func decode(b []byte) (*Segment, error) {
	if len(b) < headerBytes+trailerBytes || string(b[:len(magic)]) != magic {
		return nil, fmt.Errorf("%w: not a segment", ErrDamaged)
	}
	if b[4] != version {
		return nil, fmt.Errorf("segment format %d: this release reads %d; use the release that wrote it, or a later one", b[4], version)
	}
	end := len(b) - trailerBytes
	if sum := crc32.Checksum(b[:end], castagnoli); sum != binary.LittleEndian.Uint32(b[end:]) {
		return nil, fmt.Errorf("%w: checksum differs", ErrDamaged)
	}
	records := uint64(binary.LittleEndian.Uint32(b[8:]))
	meta := uint64(binary.LittleEndian.Uint32(b[12:]))
	data := binary.LittleEndian.Uint64(b[16:])
	body := uint64(end - headerBytes)
	if b[5]|b[6]|b[7] != 0 || meta > body || data != body-meta || records > meta/minFrameBytes {
		return nil, fmt.Errorf("%w: lengths in the header contradict the object's", ErrDamaged)
	}
	s := &Segment{
		meta:    string(b[headerBytes : headerBytes+meta]),
		data:    b[headerBytes+meta : end : end],
		records: int(records),
		marks:   make([]mark, 0, (records+markEvery-1)/markEvery),
	}
	return s, s.verify()
}

// verify walks every frame, so that reading afterwards can't fail, and leaves marks on the way.
func (s *Segment) verify() error {
	c := cursor{s: s}
	for i := range s.records {
		if i%markEvery == 0 {
			s.marks = append(s.marks, c.at)
		}
		c.next()
		if c.failed {
			return fmt.Errorf("%w: record %d of %d is cut off", ErrDamaged, i, s.records)
		}
	}
	if c.at.meta != len(s.meta) || c.at.data != len(s.data) {
		return fmt.Errorf("%w: bytes behind the last record", ErrDamaged)
	}
	return nil
}

// Len is the number of records.
func (s *Segment) Len() int { return s.records }

// Records yields every record with its index. Data shares the segment's memory: nobody writes to it.
func (s *Segment) Records() iter.Seq2[int, connectors.Record] { return s.Slice(0, s.records) }

// Slice yields the records [from, to) with their indexes, and passes over others cheaply. It panics
// like a slice expression when the bounds are not 0 <= from <= to <= Len.
func (s *Segment) Slice(from, to int) iter.Seq2[int, connectors.Record] {
	if from < 0 || from > to || to > s.records {
		panic(fmt.Sprintf("segment: slice bounds [%d:%d] of %d records", from, to, s.records))
	}
	return func(yield func(int, connectors.Record) bool) {
		if from == to {
			return
		}
		c := cursor{s: s, at: s.marks[from/markEvery]}
		for range from % markEvery {
			c.next()
		}
		for i := from; i < to; i++ {
			if !yield(i, c.next()) {
				return
			}
		}
	}
}

// cursor reads frames. After a frame that doesn't hold what it says, failed is set and reading goes no
// further.
type cursor struct {
	s      *Segment
	at     mark
	failed bool
}

func (c *cursor) next() connectors.Record {
	r := connectors.Record{
		ID:      c.string(),
		Stream:  c.string(),
		Key:     c.string(),
		Op:      connectors.Op(c.string()),
		Version: c.varint(),
	}
	r.OccurredAt = c.time()
	r.ReceivedAt = c.time()
	n := c.uvarint()
	if n > uint64(len(c.s.data)-c.at.data) {
		c.failed = true
	}
	if c.failed || n == 0 {
		return r
	}
	end := c.at.data + int(n)
	r.Data = c.s.data[c.at.data:end:end]
	c.at.data = end
	return r
}

func (c *cursor) string() string {
	n := c.uvarint()
	if n > uint64(len(c.s.meta)-c.at.meta) {
		c.failed = true
	}
	if c.failed {
		return ""
	}
	start := c.at.meta
	c.at.meta += int(n)
	return c.s.meta[start:c.at.meta]
}

// uvarint is binary.Uvarint on a string.
func (c *cursor) uvarint() uint64 {
	var x uint64
	for shift := 0; shift < 70 && c.at.meta < len(c.s.meta); shift += 7 {
		b := c.s.meta[c.at.meta]
		c.at.meta++
		if b < 0x80 {
			if shift == 63 && b > 1 {
				break // more than 64 bits
			}
			return x | uint64(b)<<shift
		}
		x |= uint64(b&0x7f) << shift
	}
	c.failed = true
	return 0
}

func (c *cursor) varint() int64 {
	u := c.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

func (c *cursor) time() time.Time {
	seconds, nanos := c.varint(), c.uvarint()
	if nanos >= uint64(time.Second) {
		c.failed = true
		return time.Time{}
	}
	return time.Unix(seconds, int64(nanos)).UTC() // the zero Time comes back as itself
}

func appendString(b []byte, s string) []byte {
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTime(b []byte, t time.Time) []byte {
	b = binary.AppendVarint(b, t.Unix())
	return binary.AppendUvarint(b, uint64(t.Nanosecond()))
}
