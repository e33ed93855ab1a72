package mongodb

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"tributary/connectors"
	"tributary/connectors/lifetime"
	"tributary/connectors/table"
)

// statementTimeout bounds one command, so that no attempt hangs for ever.
const statementTimeout = 2 * time.Minute

// Write keeps I3 without a ledger: a document's _id is the record's identity, so an insert takes effect once, and an update is guarded by what the document says of the record that it
// holds; see guard. In mode append everything is inserted, and what finds its _id taken is there already. In mode upsert that is then updated.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	w := &writer{destination: d, batch: &b, result: connectors.NewResult(len(b.Records))}
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return w.result, err
	}
	defer leave()
	if err := table.Validate(b); err != nil {
		return w.result, err
	}
	all := make([]int, 0, len(b.Records))
	for i := range b.Records {
		if reason := table.Unfit(&b.Records[i], &fitness); reason != "" {
			w.result.Reject(i, reason)
			continue
		}
		all = append(all, i)
	}
	if err := w.write(ctx, all); err != nil {
		return w.result, connectors.AsError("write", lifetime.Ended(ctx, err))
	}
	return w.result, nil
}

type writer struct {
	*destination
	batch  *connectors.Batch
	result connectors.Result
}

// write writes the records at the indexes, in their order, statement by statement.
func (w *writer) write(ctx context.Context, indexes []int) error {
	for len(indexes) > 0 {
		s := w.gather(indexes)
		indexes = indexes[s.taken:]
		for _, name := range s.names {
			if err := w.send(ctx, name, s.collections[name].documents); err != nil {
				return err
			}
		}
	}
	return nil
}

// statement is what is sent at once: of each identity one document.
type statement struct {
	taken       int // how many indexes went into it
	names       []string
	collections map[string]*documents
}

// documents of one collection; at finds them by _id.
type documents struct {
	documents []*document
	at        map[string]int
}

// gather takes in as many records as a statement holds.
func (w *writer) gather(indexes []int) *statement {
	s := &statement{collections: make(map[string]*documents)}
	size := 0
	for ; s.taken < len(indexes) && s.taken < limits.Records; s.taken++ {
		i := indexes[s.taken]
		r := &w.batch.Records[i]
		if s.taken > 0 && size+len(r.Data) > limits.Bytes {
			break
		}
		doc := w.document(w.batch, i)
		if len(doc.bytes) > maxDocument {
			w.result.Reject(i, "the document is larger than the 16 MiB that MongoDB takes")
			continue
		}
		size += len(doc.bytes)
		name := collectionName(w.name, w.batch, r.Stream)
		c := s.collections[name]
		if c == nil {
			c = &documents{at: make(map[string]int)}
			s.collections[name] = c
			s.names = append(s.names, name)
		}
		at, again := c.at[doc.id]
		if !again {
			c.at[doc.id] = len(c.documents)
			c.documents = append(c.documents, doc)
			continue
		}
		winner, known := c.documents[at].meet(w.batch, doc)
		if !known {
			break
		}
		c.documents[at] = winner
	}
	return s
}

// send writes the documents of a collection and says of each what became of it. A document that the server refuses is rejected; the records that it stood for
// are then written without it.
func (w *writer) send(ctx context.Context, name string, docs []*document) error {
	collection, err := w.client.collection(ctx, name, w.log)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, statementTimeout)
	defer cancel()
	refused, err := w.put(ctx, collection, docs)
	for _, doc := range refused {
		if again := w.write(ctx, doc.others); again != nil && err == nil {
			err = again
		}
	}
	return err
}

// put returns the documents that were refused.
func (w *writer) put(ctx context.Context, c *mongo.Collection, docs []*document) (refused []*document, err error) {
	var present []*document
	all := len(docs)
	if w.batch.Mode == connectors.ModeUpsert && w.known.Load() {
		if docs, present, err = w.split(ctx, c, docs); err != nil {
			return nil, err
		}
	}
	absent := len(docs)
	if len(docs) > 0 {
		var taken []*document
		if taken, refused, err = w.insert(ctx, c, docs); err != nil {
			return refused, err
		}
		if w.batch.Mode == connectors.Append {
			w.durable(taken)
			return refused, nil
		}
		present = append(present, taken...)
		absent -= len(taken)
	}
	w.known.Store(absent < all/2)
	if len(present) > 0 {
		var more []*document
		more, err = w.update(ctx, c, present)
		refused = append(refused, more...)
	}
	return refused, err
}

// split parts documents whose _id is not there from those that have something to replace. What has lost already is durable.
func (w *writer) split(ctx context.Context, c *mongo.Collection, docs []*document) (absent, present []*document, err error) {
	there, err := w.look(ctx, c, docs)
	if err != nil {
		return nil, nil, err
	}
	for i, doc := range docs {
		s, found := there[doc.id]
		switch {
		case !found:
			absent = append(absent, doc)
		case doc.passes(w.batch, s):
			present = append(present, doc)
		default:
			w.durable(docs[i : i+1])
		}
	}
	return absent, present, nil
}

// durable marks what documents stand for.
func (w *writer) durable(docs []*document) {
	for _, doc := range docs {
		w.result.Durable(doc.index, doc.index+1)
		for _, i := range doc.others {
			w.result.Durable(i, i+1)
		}
	}
}

// insert returns the documents whose _id is taken and those that were refused; the others are durable, unless there is an error.
func (w *writer) insert(ctx context.Context, c *mongo.Collection, docs []*document) (taken, refused []*document, err error) {
	list := make([]bson.Raw, len(docs))
	for i, doc := range docs {
		list[i] = doc.insert()
	}
	_, err = c.InsertMany(ctx, list, options.InsertMany().SetOrdered(false))
	problems, err := w.client.problems("insert", err)
	if err != nil {
		return nil, nil, err
	}
	var unclear []*document
	var failure *connectors.Error
	for i, doc := range docs {
		problem := problems[i]
		switch {
		case problem == nil:
			w.durable(docs[i : i+1])
		case problem.duplicate && problem.index == "_id_":
			taken = append(taken, doc)
		case problem.duplicate && problem.index == "":
			unclear = append(unclear, doc)
		case problem.duplicate:
			w.result.Reject(doc.index, otherIndex(problem.index))
			refused = append(refused, doc)
		case problem.reason != "":
			w.result.Reject(doc.index, problem.reason)
			refused = append(refused, doc)
		default:
			failure = connectors.Weightier(failure, problem.failure)
		}
	}
	if len(unclear) > 0 {
		there, err := w.look(ctx, c, unclear) // for servers that don't say which unique index is broken
		if err != nil {
			return nil, refused, err
		}
		for _, doc := range unclear {
			if _, found := there[doc.id]; found {
				taken = append(taken, doc)
				continue
			}
			w.result.Reject(doc.index, otherIndex(""))
			refused = append(refused, doc)
		}
	}
	if failure != nil {
		return taken, refused, failure
	}
	return taken, refused, nil
}

// look reads what is there of the documents, as a majority of the members has it: what others may yet lose is not seen.
func (w *writer) look(ctx context.Context, c *mongo.Collection, docs []*document) (map[string]state, error) {
	ids := make(bson.A, len(docs))
	for i, doc := range docs {
		ids[i] = doc.id
	}
	fields := bson.D{{Key: fieldVersion, Value: 1}, {Key: fieldVersionSeen, Value: 1}, {Key: fieldEpoch, Value: 1}, {Key: fieldOrdinal, Value: 1}, {Key: fieldReceivedAt, Value: 1}}
	cursor, err := c.Find(ctx, bson.D{{Key: "_id", Value: bson.D{{Key: "$in", Value: ids}}}}, options.Find().SetProjection(fields))
	if err != nil {
		return nil, w.client.failed("look for documents", err)
	}
	var found []state
	if err := cursor.All(ctx, &found); err != nil {
		return nil, w.client.failed("look for documents", err)
	}
	there := make(map[string]state, len(found))
	for _, s := range found {
		there[s.ID] = s
	}
	return there, nil
}

// update lets documents take the place of what is there under their _id where the guard passes; where it does not, something newer is there. It returns those that were refused; the
// others are durable, unless there is an error.
func (w *writer) update(ctx context.Context, c *mongo.Collection, docs []*document) (refused []*document, err error) {
	models := make([]mongo.WriteModel, len(docs))
	for i, doc := range docs {
		models[i] = mongo.NewUpdateOneModel().SetFilter(doc.guard(w.batch)).SetUpdate(doc.update(w.raw))
	}
	_, err = c.BulkWrite(ctx, models, options.BulkWrite().SetOrdered(false))
	problems, err := w.client.problems("update", err)
	if err != nil {
		return nil, err
	}
	var failure *connectors.Error
	for i, doc := range docs {
		switch problem := problems[i]; {
		case problem == nil:
			w.durable(docs[i : i+1])
		case problem.duplicate:
			w.result.Reject(doc.index, otherIndex(problem.index))
			refused = append(refused, doc)
		case problem.reason != "":
			w.result.Reject(doc.index, problem.reason)
			refused = append(refused, doc)
		default:
			failure = connectors.Weightier(failure, problem.failure)
		}
	}
	if failure != nil {
		return refused, failure
	}
	return refused, nil
}
