package connectortest

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"tributary/connectors"
)

// Which record of a key stays (I5).

// change is a record of one object: its version, what it does, its ID.
type change struct {
	version int64
	op      connectors.Op
	id      string
}

func (c change) record(key string) connectors.Record {
	r := connectors.Record{ID: key + "/" + c.id, Stream: "orders", Key: key, Op: c.op, Version: c.version, Data: fmt.Appendf(nil, `{"change": %q}`, c.id)}
	if c.op == connectors.Delete {
		r.Data = nil
	}
	return r
}

const up, del = connectors.Upsert, connectors.Delete

func (t *destinationTest) winners() {
	cases := []struct {
		name    string
		changes []change
		want    string // the ID of the record that stays
	}{
		{"newer after older", []change{{1, up, "a"}, {2, up, "b"}}, "b"},
		{"older after newer", []change{{2, up, "a"}, {1, up, "b"}}, "a"},
		{"equal versions", []change{{1, up, "a"}, {1, up, "b"}}, "b"},
		{"the same change twice", []change{{1, up, "a"}, {1, up, "a"}}, "a"},
		{"unknown versions", []change{{0, up, "a"}, {0, up, "b"}}, "b"},
		{"unknown over known", []change{{5, up, "a"}, {0, up, "b"}}, "b"},
		{"known over unknown", []change{{0, up, "a"}, {1, up, "b"}}, "b"},
		{"older after unknown over known", []change{{5, up, "a"}, {0, up, "b"}, {4, up, "c"}}, "b"},
		{"newer after unknown over known", []change{{5, up, "a"}, {0, up, "b"}, {6, up, "c"}}, "c"},
		{"negative versions", []change{{-5, up, "a"}, {-6, up, "b"}}, "a"},
		{"large versions", []change{{1<<63 - 1, up, "a"}, {1<<63 - 2, up, "b"}}, "a"},
		{"deleted", []change{{1, up, "a"}, {2, del, "b"}}, "b"},
		{"deleted before it was there", []change{{2, del, "a"}, {1, up, "b"}}, "a"},
		{"older after deletion", []change{{2, up, "a"}, {3, del, "b"}, {1, up, "c"}}, "b"},
		{"newer after deletion", []change{{1, up, "a"}, {2, del, "b"}, {3, up, "c"}}, "c"},
		{"late copy after deletion without version", []change{{5, up, "a"}, {0, del, "b"}, {5, up, "a"}}, "b"},
		{"made again after deletion without version", []change{{5, up, "a"}, {0, del, "b"}, {6, up, "c"}}, "c"},
		{"old deletion", []change{{5, up, "a"}, {4, del, "b"}}, "a"},
	}
	t.redelivered = true
	for _, way := range []string{"batch by batch", "in one batch"} {
		d := t.open()
		installation := "winners/" + way
		ordinal := int64(0)
		var rows []Row
		var all []connectors.Record
		for _, c := range cases {
			var rs []connectors.Record
			for _, change := range c.changes {
				rs = append(rs, change.record(c.name))
			}
			all = append(all, rs...)
			rows = append(rows, t.expected(installation, rs, c.name+"/"+c.want)...)
		}
		if way == "in one batch" {
			b := t.batch(0, all...)
			b.Installation, b.Epoch = installation, way
			t.write(d, b)
		} else {
			for _, r := range all {
				b := t.batch(ordinal, r)
				b.Installation, b.Epoch = installation, way
				t.write(d, b)
				ordinal++
			}
		}
		var there []Row
		for _, row := range t.rows() {
			if row.Installation == installation {
				there = append(there, row)
			}
		}
		t.compare(there, rows)
	}
}

// late is attempts that were given up and write when what follows them is there: of records without a version only their place tells that they are older.
func (t *destinationTest) late() {
	steps := [][]change{
		{{0, up, "a"}}, {{0, up, "b"}, {0, up, "c"}}, {{3, up, "d"}}, {{3, up, "e"}, {0, up, "f"}}, {{2, up, "g"}, {0, del, "h"}}, {{4, up, "i"}}, {{4, up, "j"}}, {{0, up, "k"}, {4, up, "l"}, {0, del, "m"}},
	}
	d, late := t.open(), t.open()
	var batches []connectors.Batch
	var all []connectors.Record
	for _, step := range steps {
		var rs []connectors.Record
		for _, c := range step {
			rs = append(rs, c.record("object"))
		}
		b := t.batch(int64(len(all)), rs...)
		all = append(all, rs...)
		batches = append(batches, b)
		t.write(d, b)
		for _, earlier := range batches {
			t.write(late, earlier)
		}
		t.want(t.model(all))
	}
}

// expected are the rows after the records of one key: the one that stays, or in mode append each ID once.
func (t *destinationTest) expected(installation string, rs []connectors.Record, winner string) []Row {
	var rows []Row
	seen := make(map[string]bool)
	for _, r := range rs {
		if !seen[r.ID] && (t.mode == connectors.Append || r.ID == winner) {
			rows = append(rows, rowOf(connectors.Batch{Installation: installation}, r))
		}
		seen[r.ID] = true
	}
	return rows
}

// anyOrder writes random changes of few keys in batches of random sizes and compares with what the rule says, one by one.
func (t *destinationTest) anyOrder() {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	const changes = 400
	keys := []string{"a", "b", "c", "d", ""}
	all := make([]connectors.Record, 0, changes)
	for i := range changes {
		c := change{version: random.Int64N(6), op: up, id: fmt.Sprint(i)}
		if random.IntN(4) == 0 {
			c.op = del
		}
		r := c.record(keys[random.IntN(len(keys))])
		if random.IntN(10) == 0 && i > 0 {
			r = all[random.IntN(i)] // redelivered
		}
		all = append(all, r)
	}
	d := t.open()
	for from := 0; from < changes; {
		to := min(changes, from+1+random.IntN(40))
		t.write(d, t.batch(int64(from), all[from:to]...))
		from = to
	}
	t.redelivered = true
	t.want(t.model(all))
}

// model applies records one after the other.
func (t *destinationTest) model(all []connectors.Record) []Row {
	type state struct {
		record connectors.Record
		seen   int64
	}
	b := t.batch(0)
	byKey := make(map[string]state)
	var order []string
	for _, r := range all {
		key := "key " + r.Key
		if t.mode == connectors.Append || r.Key == "" {
			key = "id " + r.ID
		}
		old, there := byKey[key]
		switch {
		case !there:
			order = append(order, key)
			byKey[key] = state{r, r.Version}
		case t.mode == connectors.Append:
		case r.Version == 0:
			byKey[key] = state{r, old.seen}
		case r.Version > old.seen, r.Version == old.seen && old.record.Version == old.seen:
			byKey[key] = state{r, r.Version}
		}
	}
	var rows []Row
	for _, key := range order {
		rows = append(rows, rowOf(b, byKey[key].record))
	}
	return rows
}

// compare compares rows whatever their order.
func (t *destinationTest) compare(got, want []Row) {
	t.Helper()
	if t.h.Once == ByID || t.h.Once == ByName && t.redelivered {
		got = t.recognised(got)
	}
	text := func(rows []Row, spells func(string) string) map[string]int {
		m := make(map[string]int)
		for _, r := range rows {
			switch {
			case t.columns:
				r.Data = canonical(t.T, r.Data)
			case spells != nil && r.Data != "":
				r.Data = spells(r.Data)
			}
			m[fmt.Sprintf("%+q", [...]any{r.Installation, r.Stream, r.ID, r.Key, r.Op, r.Version, r.Data})]++
		}
		return m
	}
	there, wanted := text(got, nil), text(want, t.h.Spells)
	var wrong []string
	for row, n := range wanted {
		if there[row] != n {
			wrong = append(wrong, fmt.Sprintf("%d times instead of %d: %.300s", there[row], n, row))
		}
	}
	for row, n := range there {
		if wanted[row] == 0 {
			wrong = append(wrong, fmt.Sprintf("%d times and not wanted: %.300s", n, row))
		}
	}
	if wrong != nil {
		t.Fatalf("%d rows, want %d:\n%s", len(got), len(want), strings.Join(wrong[:min(len(wrong), 10)], "\n"))
	}
}

// recognised are the rows as a reader has them who ignores an ID that it knows. What comes under a known ID must be the same.
func (t *destinationTest) recognised(rows []Row) []Row {
	t.Helper()
	known := make(map[[3]string]Row)
	var once []Row
	for _, row := range rows {
		id := [3]string{row.Installation, row.Stream, row.ID}
		first, again := known[id]
		if !again {
			known[id] = row
			once = append(once, row)
		} else if first != row {
			t.Fatalf("under one ID stand %+v and %+v", first, row)
		}
	}
	return once
}
