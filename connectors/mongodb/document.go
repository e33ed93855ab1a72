package mongodb

import (
	"encoding/binary"
	"strings"
	"time"

	"github.com/tidwall/gjson"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Fields of a document besides _id. Their names are those of the columns that tables have, but for the record's ID.
const (
	fieldInstallation = "_installation"
	fieldStream       = "_stream"
	fieldRecordID     = "_record_id"
	fieldKey          = "_key"
	fieldOp           = "_op"
	fieldVersion      = "_version"
	fieldVersionSeen  = "_version_seen"
	fieldOccurredAt   = "_occurred_at"
	fieldReceivedAt   = "_received_at"
	fieldEpoch        = "_epoch"
	fieldOrdinal      = "_ordinal"
	fieldData         = "data"
	fieldRaw          = "raw"
)

// maxDocument is the size of the largest document that is sent. The server's limit is 16 MiB, https://www.mongodb.com/docs/manual/reference/limits/#bson-documents,
// for an update together with its filter.
const maxDocument = 16<<20 - 16<<10

// document is a record on its way into a collection.
type document struct {
	index  int // of the record in the batch
	record *connectors.Record
	id     string
	seen   int64 // the greatest version among those of the key that this one has won over, and its own
	bytes  []byte
	// Where in bytes the value of _version_seen begins, and what of them an update sets.
	seenAt, setFrom int
	// others are the records of the key that this one stands for too, by index in the batch.
	others []int
}

// identity is a document's _id: <installation>:<stream>:<key>, or <installation>:<stream>#<ID> in mode append and for a record without a key. Within the
// installation and the stream the signs that mean something are percent-encoded, so that no two identities are spelled alike.
func identity(b *connectors.Batch, r *connectors.Record) string {
	scope := escapeScope.Replace(b.Installation) + ":" + escapeScope.Replace(r.Stream)
	if b.Mode == connectors.Append || r.Key == "" {
		return scope + "#" + r.ID
	}
	return scope + ":" + r.Key
}

var escapeScope = strings.NewReplacer("%", "%25", ":", "%3A", "#", "%23")

// document encodes a record.
func (d *destination) document(b *connectors.Batch, index int) *document {
	r := &b.Records[index]
	doc := &document{index: index, record: r, id: identity(b, r), seen: r.Version}
	buf := make([]byte, 0, 512+len(r.Data)+len(r.Data)/2)
	start, buf := bsoncore.AppendDocumentStart(buf)
	buf = bsoncore.AppendStringElement(buf, "_id", doc.id)
	buf = bsoncore.AppendInt64Element(buf, fieldVersionSeen, r.Version)
	doc.seenAt, doc.setFrom = len(buf)-8, len(buf)
	buf = bsoncore.AppendStringElement(buf, fieldInstallation, b.Installation)
	buf = bsoncore.AppendStringElement(buf, fieldStream, r.Stream)
	buf = bsoncore.AppendStringElement(buf, fieldRecordID, r.ID)
	buf = bsoncore.AppendStringElement(buf, fieldKey, r.Key)
	buf = bsoncore.AppendStringElement(buf, fieldOp, string(r.Op))
	buf = bsoncore.AppendInt64Element(buf, fieldVersion, r.Version)
	buf = appendTime(buf, fieldOccurredAt, r.OccurredAt)
	buf = appendTime(buf, fieldReceivedAt, r.ReceivedAt)
	buf = bsoncore.AppendStringElement(buf, fieldEpoch, b.Epoch)
	buf = bsoncore.AppendInt64Element(buf, fieldOrdinal, r.Ordinal)
	if len(r.Data) > 0 {
		buf = d.encoder.value(buf, fieldData, gjson.ParseBytes(r.Data), d.encoder.dates, 0)
		if d.raw {
			buf = bsoncore.AppendStringElement(buf, fieldRaw, string(r.Data))
		}
	}
	doc.bytes, _ = bsoncore.AppendDocumentEnd(buf, start)
	return doc
}

func appendTime(buf []byte, name string, t time.Time) []byte {
	if t, ok := table.Time(t); ok {
		return bsoncore.AppendDateTimeElement(buf, name, t.UnixMilli())
	}
	return bsoncore.AppendNullElement(buf, name)
}

// insert is the document as it is when its key is new.
func (doc *document) insert() bson.Raw {
	binary.LittleEndian.PutUint64(doc.bytes[doc.seenAt:], uint64(doc.seen))
	return doc.bytes
}

// update makes the document of the key this one, and leaves fields of others alone.
func (doc *document) update(raw bool) bson.Raw {
	set := doc.bytes[doc.setFrom : len(doc.bytes)-1]
	start, buf := bsoncore.AppendDocumentStart(make([]byte, 0, len(set)+128))
	inner, buf := bsoncore.AppendDocumentElementStart(buf, "$set")
	buf, _ = bsoncore.AppendDocumentEnd(append(buf, set...), inner)
	inner, buf = bsoncore.AppendDocumentElementStart(buf, "$max")
	buf, _ = bsoncore.AppendDocumentEnd(bsoncore.AppendInt64Element(buf, fieldVersionSeen, doc.seen), inner)
	if empty := len(doc.record.Data) == 0; empty || !raw {
		inner, buf = bsoncore.AppendDocumentElementStart(buf, "$unset")
		buf = bsoncore.AppendStringElement(buf, fieldRaw, "")
		if empty {
			buf = bsoncore.AppendStringElement(buf, fieldData, "")
		}
		buf, _ = bsoncore.AppendDocumentEnd(buf, inner)
	}
	buf, _ = bsoncore.AppendDocumentEnd(buf, start)
	return buf
}
