package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/segment"
)

// hold puts payloads into quarantine as one segment and returns their IDs.
func hold(t *testing.T, s *session, lane string, sequence uint64, payloads ...string) (ids []string, name string) {
	t.Helper()
	b := segment.NewBuilder()
	for i, p := range payloads {
		b.Add(connectors.Record{ID: fmt.Sprint("id", i), Key: fmt.Sprint("key", i), Stream: "orders", Op: connectors.Upsert, Data: []byte(p)})
	}
	ref, err := s.Segments.Seal(t.Context(), segment.Name{Epoch: "epoch", Stream: lane, Origin: segment.OriginQuarantine, Sequence: sequence}, b)
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]catalog.Quarantined, len(payloads))
	for i := range payloads {
		rows[i] = catalog.Quarantined{
			Installation: "customers/ada", Epoch: "epoch", Lane: lane, Stream: "orders", RecordID: fmt.Sprint("id", i), Key: fmt.Sprint("key", i),
			Reason: "the endpoint answered 422", Kind: connectors.Invalid, Segment: ref.Name, Index: i, Bytes: int64(len(payloads[i])), At: time.Now(),
		}
	}
	if err := s.Catalog.AddQuarantined(t.Context(), rows); err != nil {
		t.Fatal(err)
	}
	found, err := s.Catalog.Quarantined(t.Context(), catalog.QuarantineFilter{Lane: lane})
	if err != nil {
		t.Fatal(err)
	}
	for _, q := range found {
		if q.Segment == ref.Name {
			ids = append(ids, strconv.FormatInt(q.ID, 10))
		}
	}
	return ids, ref.Name
}

func TestQuarantine(t *testing.T) {
	t.Parallel()
	s := place(t)
	a := &app{streams: streams{getenv: func(name string) string { return s.env[name] }}}
	stores, err := a.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer stores.close()
	const odd = "{\"a\" :  1.0,\n \"a\": \"\\ud800 \U0001F4DE\"}\n"
	ids, name := hold(t, stores, "endpoint", 1, `{"n": 0}`, odd)
	others, _ := hold(t, stores, "warehouse", 2, `{"n": 2}`)

	var rows []quarantineRow
	if s.object(&rows, "quarantine", "list"); len(rows) != 3 {
		t.Fatalf("%d records are listed, want 3", len(rows))
	}
	if s.object(&rows, "quarantine", "list", "customers/ada", "--lane", "endpoint"); len(rows) != 2 {
		t.Fatalf("%d records are listed of the lane, want 2", len(rows))
	}
	s.want(exitNotFound, words("no installation customers/bob"), "quarantine", "list", "customers/bob")
	s.want(exitOK, words("422", "key1", "endpoint"), "quarantine", "list")
	s.want(exitUsage, words("held, redelivering"), "quarantine", "list", "--state", "lost")

	// The payload comes byte for byte, also within JSON.
	r := s.want(exitOK, nil, "quarantine", "show", ids[1])
	if r.out != odd {
		t.Errorf("show printed %q, want %q", r.out, odd)
	}
	var one shown
	if s.object(&one, "quarantine", "show", ids[1]); one.Payload != odd || one.Lane != "endpoint" {
		t.Errorf("got %+v", one)
	}

	// A segment goes with the last of its records, not before.
	s.want(exitOK, words("Discarded 1 record."), "quarantine", "discard", "customers/ada", ids[0])
	if _, err := stores.Segments.Load(t.Context(), name); err != nil {
		t.Fatalf("the segment went although a record of it is held: %v", err)
	}
	s.want(exitNotFound, words("none of these"), "quarantine", "discard", "customers/ada", ids[0])
	s.want(exitNotFound, nil, "quarantine", "discard", "customers/bob", others[0])
	s.want(exitOK, words("Discarded 1 record."), "quarantine", "discard", "customers/ada", "--all", "--lane", "endpoint", "--yes")
	if _, err := stores.Segments.Load(t.Context(), name); err == nil {
		t.Error("the segment is still there")
	}
	s.want(exitNotFound, words("discarded"), "quarantine", "show", ids[0])
	if s.object(&rows, "quarantine", "list"); len(rows) != 1 || rows[0].Lane != "warehouse" {
		t.Errorf("left are %+v", rows)
	}
	if s.object(&rows, "quarantine", "list", "--state", "discarded"); len(rows) != 2 {
		t.Errorf("%d are listed as discarded, want 2", len(rows))
	}
}

// What can't be understood of a webhook is for no lane: the status tells of it beside the lanes.
func TestStatusTellsOfWhatIsForNoDestination(t *testing.T) {
	t.Parallel()
	for held, told := range map[int64]bool{0: false, 2: true} {
		var b strings.Builder
		writeStatus(&b, fullStatus{Held: map[string]int64{"": held, "warehouse": 7}}, 120)
		if strings.Contains(b.String(), "2 in quarantine for no destination") != told {
			t.Errorf("with %d: %s", held, b.String())
		}
	}
}
