package connectortest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tributary/connectors"
)

// DestinationHarness is what TestDestination needs to know of a destination.
type DestinationHarness struct {
	// New makes an empty place to write to, which ends with the test.
	New func(t *testing.T) DestinationPlace
	// Apart makes a place whose stand-in runs in another process, for the largest batch, so that Memory is the destination's alone; nil: New does.
	Apart func(t *testing.T) DestinationPlace
	// Modes that the destination offers.
	Modes []connectors.Mode
	// Once is how the destination knows what was written before.
	Once Once
	// Records is how many records the largest tests write; 0 = 10,000. Fewer for destinations that make a request of each.
	Records int
	// Bulk is how many records the one largest batch has; 0 = 100,000. Fewer where a stand-in would take minutes for them.
	Bulk int
	// Memory is how many times its own size a batch may take of this process's memory while it is written; 0 = 2.5. More where the
	// stand-in runs in this process and keeps there what was written.
	Memory float64
	// AnyBytes says that it holds payloads that are no text.
	AnyBytes bool
	// Refuses tells which JSON texts the destination can't hold and rejects, and is true of a payload where it is of a value in it; nil: none.
	Refuses func(data []byte) bool
	// Spells is how a payload stands in layout raw that the destination does not keep byte for byte; nil: it does.
	Spells func(data string) string
	// Poison is a payload that only the destination itself finds to be wrong; nil: there is none.
	Poison []byte
	// Failing destinations can't work, each for its reason, and have Canary among their secrets. A connector that logs is opened with slog.Default() as
	// Env.Log: the suite looks for Canary and payloads there.
	Failing map[string]FailingDestination
	Canary  string
	// Leaves tells goleak of goroutines that the harness's own tools leave behind.
	Leaves []goleak.Option
}

// Once is the means by which a record takes effect once.
type Once int

const (
	// ByLedger: a ledger moves in the transaction of the rows, and a key recognises what the app sends again.
	ByLedger Once = iota
	// ByName: what a lane writes has deterministic names and is never written twice; what comes again by another lane, after a
	// reinstall or from the app is there twice, with the same ID for the reader to recognise.
	ByName
	// ByKey: there is one place for each record's identity, and what is there keeps out what was written before. Ordinals alone say nothing.
	ByKey
	// ByID: anything may be there twice, with the same ID for the reader to recognise.
	ByID
)

// byOrdinal says that a range of ordinals that was written is not written again, whatever is in it.
func (o Once) byOrdinal() bool { return o == ByLedger || o == ByName }

// DestinationPlace is a database, a bucket, a topic: what several destinations write to.
type DestinationPlace struct {
	// Open opens one more destination there. Who calls it closes it.
	Open func(t *testing.T, mode connectors.Mode) connectors.Destination
	// Rows reads everything back, past the destination, in any order.
	Rows func(t *testing.T) []Row
	// Columns is for layout columns; nil: not offered.
	Columns *ColumnsPlace
	// Break cuts the connections of the destinations and lets no new ones through until Heal; nil: not offered.
	Break, Heal func(t *testing.T)
}

// ColumnsPlace is a place as layout columns uses it. Tables have the names of their streams.
type ColumnsPlace struct {
	// Open opens one more destination there. Who calls it closes it.
	Open func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination
	// Rows reads everything back, past the destination, in any order. Data is an object of the columns that are neither null nor of the metadata, each
	// as JSON: a number, a string, true, false, what a JSON column holds as it stands there; a timestamp as a string of RFC 3339 in UTC.
	Rows func(t *testing.T) []Row
	// AddColumn adds a column to a table as the operator would: of the kind integer, text or timestamp.
	AddColumn func(t *testing.T, table, column, kind string)
}

// FailingDestination can't write, and says so with an error of the kind.
type FailingDestination struct {
	Open func(t *testing.T) connectors.Destination
	Kind connectors.Kind
}

// Row is a record as it stands in the destination.
type Row struct {
	Installation, Stream, ID, Key string
	Op                            connectors.Op
	Version                       int64
	Data                          string
}

// deadline bounds each wait of the suite.
const deadline = time.Minute

// TestDestination proves that a destination keeps the contract of connectors.Destination. It is not called from a parallel test: it
// looks for goroutines left over.
func TestDestination(t *testing.T, h DestinationHarness) {
	logged := watchLogs(t)
	t.Run("start what the places share", func(t *testing.T) { h.New(t) })
	leaves := append([]goleak.Option{
		goleak.IgnoreCurrent(),
		// A proxy that is stopped while it has bytes in hand never lets go of them.
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/stream.(*ChanWriter).Write"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
	}, h.Leaves...)
	t.Run("suite", func(t *testing.T) {
		for _, mode := range h.Modes {
			t.Run(string(mode), func(t *testing.T) {
				for _, test := range []struct {
					name string
					run  func(*destinationTest)
				}{
					{"empty batch", (*destinationTest).empty},
					{"one record", (*destinationTest).one},
					{"many records", (*destinationTest).many},
					{"payloads byte for byte", (*destinationTest).payloads},
					{"awkward names", (*destinationTest).names},
					{"times beyond all calendars", (*destinationTest).times},
					{"same batch again", (*destinationTest).again},
					{"same batch at once", (*destinationTest).atOnce},
					{"halves after the whole", (*destinationTest).halves},
					{"overlapping ranges", (*destinationTest).overlap},
					{"ordinals below the ledger", (*destinationTest).below},
					{"gaps between ordinals", (*destinationTest).gaps},
					{"new epoch", (*destinationTest).epoch},
					{"two installations", (*destinationTest).installations},
					{"two lanes", (*destinationTest).lanes},
					{"many lanes at once", (*destinationTest).lanesAtOnce},
					{"poison", (*destinationTest).poison},
					{"cancelled", (*destinationTest).cancelled},
					{"closed while writing", (*destinationTest).closed},
					{"connection broken and healed", (*destinationTest).broken},
					{"which record wins", (*destinationTest).winners},
					{"late attempts", (*destinationTest).late},
					{"any order of changes", (*destinationTest).anyOrder},
				} {
					t.Run(test.name, func(t *testing.T) {
						t.Parallel()
						test.run(&destinationTest{T: t, h: h, mode: mode, place: h.New(t)})
					})
				}
			})
			t.Run("columns "+string(mode), func(t *testing.T) { testColumns(t, h, mode) })
		}
		for name, f := range h.Failing {
			t.Run("failing: "+name, func(t *testing.T) {
				t.Parallel()
				testFailing(t, f, h.Canary)
			})
		}
	})
	for _, mode := range h.Modes {
		t.Run("bulk "+string(mode), func(t *testing.T) { testBulk(t, h, mode, false) })
		t.Run("bulk columns "+string(mode), func(t *testing.T) { testBulk(t, h, mode, true) })
	}
	for _, what := range logged.tells(h.Canary) {
		t.Errorf("the logs tell %s", what)
	}
	goleak.VerifyNone(t, leaves...)
}

// destinationTest is one test of the suite with a place of its own.
type destinationTest struct {
	*testing.T
	h     DestinationHarness
	mode  connectors.Mode
	place DestinationPlace
	// columns says that the layout is that.
	columns bool
	// redelivered says that records came again otherwise than by a repeated batch.
	redelivered bool
}

func (t *destinationTest) open() connectors.Destination { return t.openWith(connectors.Evolve) }

// openWith opens with a schema rule, which counts in layout columns only.
func (t *destinationTest) openWith(rule connectors.SchemaRule) connectors.Destination {
	t.Helper()
	d := t.reopen(rule)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return d
}

// reopen opens a destination that the caller closes.
func (t *destinationTest) reopen(rule connectors.SchemaRule) connectors.Destination {
	if t.columns {
		return t.place.Columns.Open(t.T, t.mode, rule)
	}
	return t.place.Open(t.T, t.mode)
}

func (t *destinationTest) rows() []Row {
	if t.columns {
		return t.place.Columns.Rows(t.T)
	}
	return t.place.Rows(t.T)
}

// size is how many records a test writes that writes n of a possible 10,000.
func (t *destinationTest) size(n int) int {
	if t.h.Records == 0 {
		return n
	}
	return n * t.h.Records / 10_000
}

func (t *destinationTest) context() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// batch makes a batch of records, with ordinals from first up.
func (t *destinationTest) batch(first int64, records ...connectors.Record) connectors.Batch {
	records = slices.Clone(records)
	for i := range records {
		records[i].Ordinal = first + int64(i)
		if records[i].ReceivedAt.IsZero() {
			records[i].ReceivedAt = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
		}
	}
	return connectors.Batch{
		Installation: "orders-to-warehouse/ada", Integration: "orders-to-warehouse", User: "ada",
		Epoch: "6e4ad9e8-0000-4000-8000-000000000001", Lane: "warehouse",
		First: first, Next: first + int64(len(records)), Mode: t.mode, Records: records,
	}
}

// record makes the n-th record, of an object of its own.
func record(n int) connectors.Record {
	return connectors.Record{
		ID: fmt.Sprintf("event-%d", n), Stream: "orders", Key: fmt.Sprintf("gid://shop/Order/%d", n), Op: connectors.Upsert, Version: int64(n + 1),
		OccurredAt: time.Date(2026, 11, 1, 11, 0, 0, 123456000, time.UTC), Data: fmt.Appendf(nil, `{"id": %d, "total_spent": "0.00"}`, n),
	}
}

func records(from, to int) []connectors.Record {
	var rs []connectors.Record
	for n := from; n < to; n++ {
		rs = append(rs, record(n))
	}
	return rs
}

// write writes a batch and wants all of it durable.
func (t *destinationTest) write(d connectors.Destination, b connectors.Batch) {
	t.Helper()
	r, err := d.Write(t.context(), b)
	if err != nil {
		t.Fatalf("write: %v", err)
	}
	t.wantOutcomes(b, r, nil)
}

// wantOutcomes wants the records at the indexes rejected with a reason and all others durable.
func (t *destinationTest) wantOutcomes(b connectors.Batch, r connectors.Result, rejected []int) {
	t.Helper()
	if len(b.Records) > 0 && len(r.Outcomes) != len(b.Records) {
		t.Fatalf("%d outcomes for %d records", len(r.Outcomes), len(b.Records))
	}
	for i := range b.Records {
		want := connectors.Durable
		if slices.Contains(rejected, i) {
			want = connectors.Rejected
			if reason := r.Reasons[i]; reason == "" || len(reason) > 500 {
				t.Fatalf("record %d is rejected with the reason %q", i, reason)
			}
		}
		if r.Outcomes[i] != want {
			t.Fatalf("record %d of %d: outcome %d (%s), want %d", i, len(b.Records), r.Outcomes[i], r.Reasons[i], want)
		}
	}
	if len(r.Reasons) != len(rejected) {
		t.Fatalf("%d reasons, want %d", len(r.Reasons), len(rejected))
	}
}

// untilDurable writes a batch as the engine does: what comes again comes again.
func (t *destinationTest) untilDurable(d connectors.Destination, b connectors.Batch) {
	t.Helper()
	ctx := t.context()
	for {
		r, err := d.Write(ctx, b)
		if err == nil {
			t.wantOutcomes(b, r, nil)
			return
		}
		t.wantRetry(err)
		if ctx.Err() != nil {
			t.Fatalf("still failing after %v: %v", deadline, err)
		}
	}
}

// wantRetry wants an error after which the engine comes again.
func (t *destinationTest) wantRetry(err error) {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind.Stops() {
		t.Fatalf("got %v, want an error of a kind that comes again", err)
	}
}

// want compares what is in the destination with rows.
func (t *destinationTest) want(rows []Row) {
	t.Helper()
	t.compare(t.rows(), rows)
}

// rowsOf are the rows that a batch makes when each record has a key of its own.
func rowsOf(batches ...connectors.Batch) []Row {
	var rows []Row
	for _, b := range batches {
		for _, r := range b.Records {
			rows = append(rows, rowOf(b, r))
		}
	}
	return rows
}

func rowOf(b connectors.Batch, r connectors.Record) Row {
	return Row{b.Installation, r.Stream, r.ID, r.Key, r.Op, r.Version, string(r.Data)}
}

func (t *destinationTest) empty() {
	d := t.open()
	b := t.batch(0)
	b.Next = 7 // a filter left everything out
	t.write(d, b)
	t.write(d, b)
	t.want(nil)
	next := t.batch(7, records(7, 9)...)
	t.write(d, next)
	t.want(rowsOf(next))
}

func (t *destinationTest) one() {
	b := t.batch(0, record(0))
	t.write(t.open(), b)
	t.want(rowsOf(b))
}

func (t *destinationTest) many() {
	b := t.batch(0, records(0, t.size(10_000))...)
	t.write(t.open(), b)
	t.want(rowsOf(b))
}

// payloads that a decoder, an encoder or a column might change.
func payloads() []string {
	return []string{
		`{}`, `null`, `0`, `-0`, `""`, ` [ ] `, "\r\n\t{\"a\"\n:\t1 }\n",
		`{"a":1,"a":2,"A":3}`, `{"b":1,"a":2}`,
		`{"n":9007199254740993,"m":123456789012345678901234567890,"e":1e400,"f":1.0,"g":1E+2,"h":-1e-400,"i":0.10}`,
		`{"s":"\u0000","t":"\u00e9é\u00E9","u":"\/","v":"\ud83d\ude00😀","w":"\u2028\u2029\u007f"}`,
		`"\ud800"`, `{"":""}`, `{"html":"<a href='x'>&amp;</a>","sql":"'; DROP TABLE orders; --","copy":"\\N\\.\t"}`,
		`{"customers": {"id": 7845692539040, "email": "ada@example.com", "orders_count": 0, "total_spent": "0.00", "verified_email": true}}`,
		`"` + strings.Repeat("é", 1<<19) + `"`,
		strings.Repeat(`{"a":[`, 200) + strings.Repeat(`]}`, 200),
		"\"漢字 \u202ertl\u202c 👩\u200d👩\u200d👧\u200d👦 ﷽\"",
	}
}

func (t *destinationTest) payloads() {
	var rs []connectors.Record
	var rejected []int
	for i, p := range payloads() {
		r := record(i)
		r.Data = []byte(p)
		rs = append(rs, r)
		if t.h.Refuses != nil && t.h.Refuses(r.Data) {
			rejected = append(rejected, i)
		}
	}
	gone := record(len(rs))
	gone.Op, gone.Data = connectors.Delete, nil
	b := t.batch(0, append(rs, gone)...)
	kept := b
	kept.Records = nil
	for i, r := range b.Records {
		if !slices.Contains(rejected, i) {
			kept.Records = append(kept.Records, r)
		}
	}
	copies := make([][]byte, len(rs))
	for i := range rs {
		copies[i] = bytes.Clone(rs[i].Data)
	}
	r, err := t.open().Write(t.context(), b)
	if err != nil {
		t.Fatal(err)
	}
	t.wantOutcomes(b, r, rejected)
	t.want(rowsOf(kept))
	for i := range rs {
		if !bytes.Equal(rs[i].Data, copies[i]) {
			t.Fatalf("the destination wrote into the payload of record %d", i)
		}
	}
}

func (t *destinationTest) names() {
	var rs []connectors.Record
	for i, name := range []string{
		"orders", "Orders", "ORDERS", "order", "select", "user", "table", "a b", "a.b", `a"b`, "a'b", "a;b", "a`b", "a\\b", "a/b", "a-b", "$1", "%s", "{}", "main", "public", "pg_class",
		"größe", "注文", "😀", " ", strings.Repeat("long_", 20), strings.Repeat("long_", 20) + "x", strings.Repeat("é", 60), "data", "_id", "1",
	} {
		r := record(i)
		r.Stream = name
		twin := r // the same ID and key in another stream is another record
		twin.ID, twin.Key = "same", "same"
		rs = append(rs, r, twin)
	}
	b := t.batch(0, rs...)
	b.Lane = `lane "x" 'y' é`
	b.Installation = `it's "quoted"/ada\ é;--`
	d := t.open()
	t.write(d, b)
	t.want(rowsOf(b))
	again := b
	again.Epoch, t.redelivered = "another", true
	t.write(d, again)
	t.want(rowsOf(b))
}

func (t *destinationTest) times() {
	rs := records(0, 5)
	rs[0].OccurredAt = time.Time{}
	rs[1].OccurredAt = time.Date(292_277_026_596, 12, 4, 0, 0, 0, 0, time.UTC)
	rs[2].OccurredAt = time.Date(-5000, 1, 1, 0, 0, 0, 0, time.UTC)
	rs[3].OccurredAt = time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.FixedZone("", 3600))
	rs[4].OccurredAt = time.Date(1, 1, 1, 0, 0, 1, 0, time.UTC)
	b := t.batch(0, rs...)
	t.write(t.open(), b)
	t.want(rowsOf(b))
}
