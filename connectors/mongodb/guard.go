package mongodb

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Which record of a key a collection keeps (I5), by the rule of package table, when no transaction and no ledger keeps a late attempt out (I3). One
// update of one document is atomic, so everything is in its filter. A record takes the place of the one that is there if
//
//   - its version is greater than any that the key was seen with: true at most once for each record, as the version is then seen; or
//   - it wins as the later arrival, by table.Wins, and did arrive later: in the same epoch its ordinal is greater, between two epochs, whose ordinals say
//     nothing about each other, it was not received earlier.
//
// So a record that was applied before changes nothing when it is applied again, whatever followed it: it has either won then, and its version is seen and its ordinal
// no greater than that of the document, or it has lost, against what is there or against what came before that.

// guard is the filter of an update by which the record takes its document.
func (doc *document) guard(b *connectors.Batch) bson.D {
	r := doc.record
	sameEpoch := bson.D{{Key: fieldEpoch, Value: b.Epoch}, {Key: fieldOrdinal, Value: bson.D{{Key: "$lt", Value: r.Ordinal}}}}
	otherEpoch := bson.D{{Key: fieldEpoch, Value: bson.D{{Key: "$ne", Value: b.Epoch}}}}
	if t, ok := table.Time(r.ReceivedAt); ok { // a document without the time passes too
		otherEpoch = append(otherEpoch, bson.E{Key: fieldReceivedAt, Value: bson.D{{Key: "$not", Value: bson.D{{Key: "$gt", Value: bson.NewDateTimeFromTime(t)}}}}})
	}
	var passes bson.A
	if r.Version == 0 {
		passes = bson.A{sameEpoch, otherEpoch}
	} else {
		same := bson.D{{Key: fieldVersionSeen, Value: r.Version}, {Key: fieldVersion, Value: r.Version}}
		passes = bson.A{
			bson.D{{Key: fieldVersionSeen, Value: bson.D{{Key: "$lt", Value: r.Version}}}},
			append(same[:2:2], sameEpoch...),
			append(same[:2:2], otherEpoch...),
		}
	}
	return bson.D{{Key: "_id", Value: doc.id}, {Key: "$or", Value: passes}}
}

// state is what a document says of the record that it holds.
type state struct {
	ID         string         `bson:"_id"`
	Version    int64          `bson:"_version"`
	Seen       int64          `bson:"_version_seen"`
	Epoch      string         `bson:"_epoch"`
	Ordinal    int64          `bson:"_ordinal"`
	ReceivedAt *bson.DateTime `bson:"_received_at"`
}

// passes is guard for what was read. A record that does not pass never will: it lost against what is there.
func (doc *document) passes(b *connectors.Batch, s state) bool {
	r := doc.record
	switch {
	case !table.Wins(r, s.Version, s.Seen):
		return false
	case r.Version != 0 && r.Version > s.Seen:
		return true
	case s.Epoch == b.Epoch:
		return r.Ordinal > s.Ordinal
	}
	t, ok := table.Time(r.ReceivedAt)
	return !ok || s.ReceivedAt == nil || bson.NewDateTimeFromTime(t) >= *s.ReceivedAt
}

// meet puts a later record of the same identity and this one into one write of the one that wins. It returns false where only the document that is there can tell which that is.
func (doc *document) meet(b *connectors.Batch, later *document) (winner *document, known bool) {
	r := later.record
	switch {
	case b.Mode == connectors.Append: // the same change twice
	case !table.Wins(r, doc.record.Version, doc.seen):
		// It would lose against the document too, which has seen as much.
	case doc.record.Version == 0 && r.Version != 0:
		return doc, false // wins over what is here, perhaps not over what is there
	default:
		later.seen = max(doc.seen, r.Version)
		later.others = append(append(doc.others, doc.index), later.others...)
		return later, true
	}
	doc.others = append(doc.others, later.index)
	return doc, true
}
