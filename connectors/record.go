package connectors

import "time"

// Op says what happened to the object that a Record is about. The values stand in histories,
// segments and destinations' tables: they are never renamed.
type Op string

const (
	Upsert Op = "upsert" // the object was created or changed; Data is its new content
	Delete Op = "delete" // the object is gone; Data is what the app sent to say so, possibly empty
)

// Record is one change to one object of a stream, with the app's entire raw payload.
//
// Identity (I1): ID is the app's event ID where that is unique, else RecordID of stream, key, version and
// payload. Two different changes never share an ID; the same change delivered twice has the same.
type Record struct {
	// ID identifies the change, at most MaxIDBytes bytes of valid UTF-8 without control characters.
	ID string
	// Stream is the collection that the object belongs to, such as "orders".
	Stream string
	// Key identifies the object within the stream. Empty: the record is an event about no object,
	// and an upsert keys on ID.
	Key string
	// Op is Upsert unless the app says that the object is gone.
	Op Op
	// Version orders the changes of one key: the greater wins, whenever it arrives. Microseconds of the
	// app's modification time where there is one. 0 = unknown: the later arrival wins.
	Version int64
	// OccurredAt is when the app says that the change happened; zero = unknown.
	OccurredAt time.Time
	// ReceivedAt is when the change reached us. Set by the engine; a connector leaves it zero.
	ReceivedAt time.Time
	// Ordinal is the record's place in its installation's sequence. Set by the engine when the record
	// enters the lanes, from 0 up; a connector never sets it.
	Ordinal int64
	// Data is the app's payload as JSON, byte for byte as it came. It may share memory with its
	// neighbours: nobody writes to it.
	Data []byte
}

// MaxIDBytes bounds Record.ID and Record.Key, so that both fit an index of every database.
const MaxIDBytes = 512
