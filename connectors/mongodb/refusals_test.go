package mongodb_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/documented"
	"tributary/connectors/mongodb"
	"tributary/connectors/mongodb/mongodbtest"
)

// returned counts the errors that the stand-ins of this package return. Once all tests have run, none that is documented may be left.
var returned = mongodbtest.Documented()

func TestMain(m *testing.M) { os.Exit(documented.Run(m, returned)) }

// refusal is what a server may answer to a command, and the kind of error that the connector makes of it (I9). Where it is none, the record is rejected.
type refusal struct {
	command string
	against mongodbtest.Against
	kind    connectors.Kind
	codes   []int32
}

var refusals = []refusal{
	{"saslStart", mongodbtest.Command, connectors.Unauthorized, []int32{11, 18, 334}},
	{"createIndexes", mongodbtest.Command, connectors.Unavailable, []int32{276, 14031}},
	{"find", mongodbtest.Command, connectors.Forbidden, []int32{13}},
	{"find", mongodbtest.Command, connectors.NotFound, []int32{26}},
	{"find", mongodbtest.Command, connectors.Unavailable, []int32{6, 7, 50, 89, 91, 133, 175, 189, 202, 262, 433, 9001, 10107, 11600, 11602, 13435, 13436}},
	{"find", mongodbtest.Command, connectors.RateLimited, []int32{449}},
	{"find", mongodbtest.Command, connectors.Unknown, []int32{43}},
	{"update", mongodbtest.Command, connectors.Forbidden, []int32{13}},
	{"update", mongodbtest.Command, connectors.Unavailable, []int32{112, 365, 371, 433, 10107}},
	{"update", mongodbtest.Document, connectors.Unknown, []int32{40, 66}},
	{"update", mongodbtest.Document, "", []int32{2, 9, 15, 22, 52, 56, 57, 121, 10334, 11000, 17280, 17419, 17420}},
	{"insert", mongodbtest.Command, connectors.Forbidden, []int32{13}},
	{"insert", mongodbtest.Command, connectors.Invalid, []int32{2, 9, 20, 59, 72, 73, 166, 238}},
	{"insert", mongodbtest.Command, connectors.RateLimited, []int32{449, 462, 16500}},
	{"insert", mongodbtest.Command, connectors.Unavailable, []int32{6, 7, 24, 50, 89, 91, 112, 189, 202, 262, 365, 371, 433, 9001, 10058, 10107, 11600, 11601, 11602, 13388, 13435, 13436, 14031}},
	{"insert", mongodbtest.Command, connectors.Unknown, []int32{14, 16, 40415, 40571}},
	{"insert", mongodbtest.Document, connectors.Forbidden, []int32{13}},
	{"insert", mongodbtest.Document, connectors.RateLimited, []int32{16500}},
	{"insert", mongodbtest.Document, connectors.Unavailable, []int32{112, 365, 371, 13388}},
	{"insert", mongodbtest.Document, "", []int32{2, 9, 15, 22, 52, 56, 57, 121, 10334, 11000, 17280}},
	{"insert", mongodbtest.WriteConcern, connectors.Invalid, []int32{79}},
	{"insert", mongodbtest.WriteConcern, connectors.Unavailable, []int32{64, 91, 100, 189, 11602}},
}

// Every documented error is one of its kind, wherever it strikes, and repeats nothing of what was sent (I7).
func TestRefusals(t *testing.T) {
	t.Parallel()
	const canary = "canary-7f3a"
	for _, r := range refusals {
		mode := connectors.Append
		if r.command == "find" || r.command == "update" {
			mode = connectors.ModeUpsert
		}
		t.Run(r.command, func(t *testing.T) {
			t.Parallel()
			for _, code := range r.codes {
				server := mongodbtest.New(t, returned)
				c := mongodb.Connection{Host: server.Addr, TLS: "off", Database: "crm"}
				if r.command == "saslStart" {
					c.User, c.Password = "ada", canary
				}
				d := open(t, mongodb.Definition(), c, mongodb.Settings{}, mode)
				for range 2 { // of objects that were there the second time, the connector looks at what is there
					if r.command == "saslStart" || r.command == "createIndexes" {
						break
					}
					if _, err := d.Write(t.Context(), batch(mode, 0, 2)); err != nil {
						t.Fatal(err)
					}
				}
				server.Refuse(t, r.command, code, r.against)
				b := batch(mode, 2, 1)
				b.Records[0].Key, b.Records[0].Data = "key0", []byte(`{"secret": "`+canary+`"}`)
				result, err := d.Write(t.Context(), b)
				switch {
				case r.kind != "":
					connectortest.WantError(t, err, r.kind)
					if strings.Contains(err.Error(), canary) {
						t.Errorf("code %d: the error repeats what was sent: %v", code, err)
					}
					if result.Outcomes[0] != connectors.Again {
						t.Errorf("code %d: outcome %v, want that it comes again", code, result.Outcomes)
					}
				case err != nil || result.Outcomes[0] != connectors.Rejected || result.Reasons[0] == "" || strings.Contains(result.Reasons[0], canary):
					t.Errorf("code %d: %v, %v, want it rejected", code, result, err)
				}
				if err := d.Close(); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// What the driver would try again by itself, it numbers: no write to a cluster is.
func TestNothingIsTriedAgainUnseen(t *testing.T) {
	t.Parallel()
	server := mongodbtest.New(t, returned)
	server.SayRouter()
	d := open(t, mongodb.Definition(), mongodb.Connection{Host: server.Addr, TLS: "off", Database: "crm"}, mongodb.Settings{}, connectors.ModeUpsert)
	for range 2 {
		if result, err := d.Write(t.Context(), batch(connectors.ModeUpsert, 0, 2)); err != nil || result.Outcomes[0] != connectors.Durable {
			t.Errorf("%v, %v, want it written", result, err)
		}
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// indexRefusals are why there may be no index on when a document came, which costs nothing but the operator's time.
var indexRefusals = []int32{13, 72, 85, 86}

func TestIndexRefusals(t *testing.T) {
	t.Parallel()
	for _, code := range indexRefusals {
		server := mongodbtest.New(t, returned)
		server.Refuse(t, "createIndexes", code, mongodbtest.Command)
		d := open(t, mongodb.Definition(), mongodb.Connection{Host: server.Addr, TLS: "off", Database: "crm"}, mongodb.Settings{}, connectors.Append)
		if result, err := d.Write(t.Context(), batch(connectors.Append, 0, 1)); err != nil || result.Outcomes[0] != connectors.Durable {
			t.Errorf("code %d: %v, %v, want it written", code, result, err)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
}

// The connector knows no code that the stand-in's document does not have, and makes of each what is told above.
func TestCodes(t *testing.T) {
	t.Parallel()
	commands, documents := mongodb.Codes()
	for code, kind := range commands {
		told := slices.Contains(indexRefusals, int32(code))
		for _, r := range refusals {
			if slices.Contains(r.codes, int32(code)) && r.kind != "" {
				told = true
				if r.kind != kind {
					t.Errorf("code %d is %s, and %s at %s", code, kind, r.kind, r.command)
				}
			}
		}
		if !told {
			t.Errorf("no test refuses a command with the code %d", code)
		}
	}
	for _, code := range documents {
		if !slices.ContainsFunc(refusals, func(r refusal) bool { return r.kind == "" && slices.Contains(r.codes, int32(code)) }) {
			t.Errorf("no test refuses a document with the code %d", code)
		}
	}
}

// A collection that has a collation is refused, before it takes one key for another; any other is as it was.
func TestCollation(t *testing.T) {
	t.Parallel()
	server := mongodbtest.New(t, returned)
	server.Collate("crm", "orders", "en")
	server.Collate("crm", "plain", "simple")
	for collection, refused := range map[string]bool{"orders": true, "plain": false, "new": false} {
		d := open(t, mongodb.Definition(), mongodb.Connection{Host: server.Addr, TLS: "off", Database: "crm"}, mongodb.Settings{Collection: collection}, connectors.ModeUpsert)
		t.Cleanup(func() { _ = d.Close() })
		_, err := d.Write(t.Context(), batch(connectors.ModeUpsert, 0, 2))
		if refused {
			connectortest.WantError(t, err, connectors.Invalid, "orders", "the collation en")
		} else if err != nil {
			t.Errorf("%s: %v", collection, err)
		}
	}
	// Who may not look, and whom the server can't tell, writes; what passes comes again.
	for code, kind := range map[int32]connectors.Kind{13: "", 59: "", 91: connectors.Unavailable} {
		server.Refuse(t, "listCollections", code, mongodbtest.Command)
		d := open(t, mongodb.Definition(), mongodb.Connection{Host: server.Addr, TLS: "off", Database: "crm"}, mongodb.Settings{Collection: fmt.Sprint("unseen", code)}, connectors.Append)
		t.Cleanup(func() { _ = d.Close() })
		if _, err := d.Write(t.Context(), batch(connectors.Append, 0, 2)); kind != "" {
			connectortest.WantError(t, err, kind)
		} else if err != nil {
			t.Errorf("%d: %v", code, err)
		}
	}
}
