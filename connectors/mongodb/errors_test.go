//go:build slow

package mongodb_test

import (
	"bytes"
	"errors"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"tributary/connectors"
	"tributary/connectors/mongodb"
)

// Of many that connect at once with a password that is not accepted, each is told so: also those who only find the pool emptied by another's refusal.
func TestWrongPasswordAtOnce(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if p.live {
		return
	}
	p.relay.answers(wrongPassword)
	c := p.connection()
	c.User, c.Password = "ada", "wrong"
	d := open(t, mongodb.Definition(), c, mongodb.Settings{}, connectors.Append)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			for range 8 {
				_, err := d.Write(t.Context(), batch(connectors.Append, 0, 1))
				if e := (*connectors.Error)(nil); !errors.As(err, &e) || e.Kind != connectors.Unauthorized {
					t.Errorf("got %v, want unauthorized", err)
				}
			}
		})
	}
	all.Wait()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// refusesDocuments answers an insert of what holds the canary as MongoDB refuses its first document. https://www.mongodb.com/docs/manual/reference/command/insert/#output
func refusesDocuments(code int, index, canary string) func(string, []byte) bson.D {
	return func(command string, message []byte) bson.D {
		if command != "insert" || code == 121 && !bytes.Contains(message, []byte("spoiled")) && bytes.Contains(message, []byte("sound")) {
			return nil
		}
		return bson.D{{Key: "ok", Value: 1}, {Key: "n", Value: 0}, {Key: "writeErrors", Value: bson.A{bson.D{
			{Key: "index", Value: 0}, {Key: "code", Value: code}, {Key: "errmsg", Value: "E11000 duplicate key error collection: x index: " + index + " dup key: { email: \"" + canary + "\" }"},
		}}}}
	}
}

// Where the newest change of an object is refused, an older one in the same batch still counts.
func TestRefusedWinner(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	if p.live {
		return
	}
	d := p.opened(t, connectors.ModeUpsert)
	p.relay.answers(refusesDocuments(121, "", ""))
	b := batch(connectors.ModeUpsert, 0, 3)
	for i, data := range []string{`{"is": "sound"}`, `{"is": "spoiled"}`, `{"is": "sound, but older"}`} {
		b.Records[i].Key, b.Records[i].Data, b.Records[i].Version = "key", []byte(data), []int64{2, 3, 1}[i]
	}
	r, err := d.Write(t.Context(), b)
	if err != nil || r.Outcomes[0] != connectors.Durable || r.Outcomes[1] != connectors.Rejected || r.Outcomes[2] != connectors.Durable {
		t.Fatalf("%v, %v", r, err)
	}
	if id := p.one(t).Lookup("_record_id").StringValue(); id != "id0" {
		t.Fatalf("%s stays, want id0", id)
	}
}
