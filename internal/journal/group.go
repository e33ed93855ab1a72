package journal

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"

	"github.com/hashicorp/raft"
)

// A group is the entries of one write, as one log entry of raft-wal:
//
//	Term        index of the group's first entry
//	Data        the entries, one after the other
//	Extensions  header: number of entries, uvarint; of each, the length, uvarint, and a CRC-32C of index
//	            and data, uint32; a CRC-32C of Term and all that, uint32
//
// raft-wal has a checksum of its own of each write, but looks at it only when it recovers the last.

var castagnoli = crc32.MakeTable(crc32.Castagnoli) // done in hardware on amd64 and arm64

// encoder keeps memory from one group to the next: raft-wal copies what it stores.
type encoder struct {
	header, data []byte
}

func (c *encoder) encode(index uint64, entries [][]byte) *raft.Log {
	h, d := c.header[:0], c.data[:0]
	h = binary.AppendUvarint(h, uint64(len(entries)))
	for i, e := range entries {
		h = binary.AppendUvarint(h, uint64(len(e)))
		h = binary.LittleEndian.AppendUint32(h, checksum(index+uint64(i), e))
		d = append(d, e...)
	}
	h = binary.LittleEndian.AppendUint32(h, checksum(index, h))
	c.header = h
	if c.data = d; cap(d) > maxGroupBytes {
		c.data = nil // a rare one
	}
	return &raft.Log{Term: index, Data: d, Extensions: h}
}

// place of an entry in a group's data.
type place struct {
	length int
	sum    uint32
}

func decodeHeader(group *raft.Log) ([]place, error) {
	h := group.Extensions
	end := len(h) - 4
	if end < 1 || binary.LittleEndian.Uint32(h[end:]) != checksum(group.Term, h[:end]) {
		return nil, fmt.Errorf("%w: checksum of the group's header differs", ErrDamaged)
	}
	n, size := binary.Uvarint(h)
	rest := h[max(size, 0):end]
	if size <= 0 || n > uint64(len(rest)) {
		return nil, fmt.Errorf("%w: the group's header is cut off", ErrDamaged)
	}
	places := make([]place, 0, n)
	for range n {
		length, size := binary.Uvarint(rest)
		if size <= 0 || len(rest) < size+4 || length > uint64(len(group.Data)) {
			return nil, fmt.Errorf("%w: the group's header is cut off", ErrDamaged)
		}
		places = append(places, place{int(length), binary.LittleEndian.Uint32(rest[size:])})
		rest = rest[size+4:]
	}
	return places, nil
}

// decode returns the group's entries from index on, up to one that is damaged.
func decode(group *raft.Log, index uint64) ([]Entry, error) {
	places, err := decodeHeader(group)
	if err != nil {
		return nil, err
	}
	if index < group.Term || index-group.Term >= uint64(len(places)) {
		return nil, fmt.Errorf("%w: it is not where it should be", ErrDamaged)
	}
	data := group.Data
	var entries []Entry
	for i, p := range places {
		if p.length > len(data) {
			return entries, fmt.Errorf("%w: cut off", ErrDamaged)
		}
		e := Entry{Index: group.Term + uint64(i), Data: data[:p.length:p.length]}
		data = data[p.length:]
		if e.Index < index {
			continue
		}
		if checksum(e.Index, e.Data) != p.sum {
			return entries, fmt.Errorf("%w: checksum differs", ErrDamaged)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func checksum(index uint64, data []byte) uint32 {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], index)
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, data)
}
