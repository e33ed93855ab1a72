package object

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"

	"tributary/connectors"
	"tributary/connectors/object/objecttest"
)

// received is when the tests' records reached us.
var received = time.Date(2026, 11, 22, 23, 59, 0, 0, time.UTC)

// batchOf makes a batch of a lane that begins at first, with a record of each stream given, one ordinal after the other.
func batchOf(first int64, streams ...string) connectors.Batch {
	b := connectors.Batch{
		Installation: "shop/ada", Integration: "shop", User: "ada", Epoch: "0b2f6a4e-1111-4222-8333-444455556666", Lane: "lake",
		First: first, Next: first + int64(len(streams)), Mode: connectors.Append,
	}
	for i, stream := range streams {
		n := first + int64(i)
		b.Records = append(b.Records, connectors.Record{
			ID: fmt.Sprint("event-", n), Stream: stream, Key: fmt.Sprint(n), Op: connectors.Upsert, Ordinal: n, ReceivedAt: received, Data: fmt.Appendf(nil, `{"n":%d}`, n),
		})
	}
	return b
}

// part is the range of a batch from one ordinal to another.
func part(b connectors.Batch, first, next int64) connectors.Batch {
	b.Records = slices.DeleteFunc(slices.Clone(b.Records), func(r connectors.Record) bool { return r.Ordinal < first || r.Ordinal >= next })
	b.First, b.Next = first, next
	return b
}

func repeat(stream string, n int) []string { return slices.Repeat([]string{stream}, n) }

// ordinals are those of the records in all objects, sorted: each is to be there once.
func ordinals(t *testing.T, objects map[string][]byte) (all []int64) {
	t.Helper()
	for name, content := range objects {
		for _, l := range read(t, name, content) {
			all = append(all, l.Ordinal)
		}
	}
	slices.Sort(all)
	return all
}

func wantOrdinals(t *testing.T, s *objecttest.S3, b connectors.Batch) {
	t.Helper()
	var want []int64
	for _, r := range b.Records {
		want = append(want, r.Ordinal)
	}
	if got := ordinals(t, s.Objects(t)); !slices.Equal(got, want) {
		t.Fatalf("there are %d records of %d: %v\nin %q", len(got), len(want), got, slices.Sorted(maps.Keys(s.Objects(t))))
	}
}

func opened(t *testing.T, s *objecttest.S3, settings Settings) *destination {
	t.Helper()
	d := openOn(t, S3(), s3Connection(s), settings)
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func write(t *testing.T, d *destination, b connectors.Batch) {
	t.Helper()
	r, err := d.Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	for i, o := range r.Outcomes {
		if o != connectors.Durable {
			t.Fatalf("record %d: outcome %d, %s", i, o, r.Reasons[i])
		}
	}
}

// mixed is a batch whose folders begin and end at different places: the first half has nothing for "late".
func mixed() connectors.Batch {
	return batchOf(100, slices.Concat(repeat("early", 20), repeat("both", 20), repeat("late", 20), repeat("both", 20))...)
}

// TestSplits proves that whichever parts of a batch are tried in whichever order, by workers that know nothing of each other, each record is
// there once.
func TestSplits(t *testing.T) {
	t.Parallel()
	whole := mixed()
	one, two := part(whole, 100, 140), part(whole, 140, 180)
	for name, attempts := range map[string][]connectors.Batch{
		"whole, then halves":                    {whole, one, two},
		"halves, then the late whole":           {one, two, whole},
		"half, the late whole, half":            {one, whole, two},
		"late whole between, then all again":    {one, whole, two, one, two, whole},
		"quarters after a half":                 {one, part(whole, 140, 165), part(whole, 165, 180), two, whole},
		"what is left of it after some settled": {one, part(whole, 130, 180), two},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := objecttest.NewS3(t, s3Returned)
			for _, b := range attempts {
				write(t, opened(t, s, Settings{}), b)
			}
			wantOrdinals(t, s, whole)
		})
	}
}

// TestLateAttempt proves the same for an attempt at the whole that has looked at the bucket before the halves were written, and uploads
// after them.
func TestLateAttempt(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	whole := mixed()
	arrived, gate := make(chan struct{}, 10), make(chan struct{})
	release := sync.OnceFunc(func() { close(gate) })
	t.Cleanup(release)
	s.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			arrived <- struct{}{}
			<-gate
		}
		return false
	}, nil)
	late := opened(t, s, Settings{})
	done := make(chan error, 1)
	go func() {
		_, err := late.Write(t.Context(), whole)
		done <- err
	}()
	for range 3 { // its three folders
		select {
		case <-arrived:
		case err := <-done:
			t.Fatalf("it ended before its uploads: %v", err)
		}
	}
	s.Intercept(nil, nil)
	d := opened(t, s, Settings{})
	write(t, d, part(whole, 100, 140))
	write(t, d, part(whole, 140, 180))
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	wantOrdinals(t, s, whole)
}

// TestPartOfBatchFails proves that what one folder got is said to be durable beside the error of another, and that only the other is written
// when the rest comes again.
func TestPartOfBatchFails(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	d := opened(t, s, Settings{})
	b := batchOf(0, "good", "good", "bad", "good", "bad")
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, "stream=bad") {
			return false
		}
		for len(s.Requests("PUT", "stream=good")) == 0 || len(s.Objects(t)) == 0 {
			time.Sleep(time.Millisecond)
		}
		s.Fail(w, "ServiceUnavailable")
		return true
	}, nil)
	// The other upload may be cut off by the error, after it arrived: then its answer is lost, and the next attempt finds it.
	r, err := d.Write(t.Context(), b)
	if kindOf(t, err) != connectors.Unavailable {
		t.Fatal(err)
	}
	if r.Outcomes[2] != connectors.Again || r.Outcomes[4] != connectors.Again {
		t.Fatalf("outcomes %v", r.Outcomes)
	}
	s.Intercept(nil, nil)
	rest := b
	rest.Records = nil
	for i, o := range r.Outcomes {
		if o == connectors.Again {
			rest.Records = append(rest.Records, b.Records[i])
		}
	}
	write(t, d, rest)
	wantOrdinals(t, s, b)
	write(t, opened(t, s, Settings{}), b)
	wantOrdinals(t, s, b)
}

// TestLostAnswer proves that an object whose answer was lost is recognised.
func TestLostAnswer(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	d := opened(t, s, Settings{})
	s.Intercept(nil, func(r *http.Request) bool { return r.Method != http.MethodPut })
	b := batchOf(0, repeat("orders", 10)...)
	if _, err := d.Write(t.Context(), b); kindOf(t, err) != connectors.Unavailable {
		t.Fatalf("got %v", err)
	}
	s.Intercept(nil, nil)
	write(t, d, b)
	wantOrdinals(t, s, b)
}

// TestListing proves that a lane that goes on where it was lists nothing, and that one that is new to the process, was interrupted or comes to a
// new folder does.
func TestListing(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	d := opened(t, s, Settings{})
	lists := func(d *destination, b connectors.Batch) int {
		t.Helper()
		s.Intercept(nil, nil)
		write(t, d, b)
		return len(s.Requests("list-type"))
	}
	for _, step := range []struct {
		what  string
		d     *destination
		b     connectors.Batch
		lists bool
	}{
		{"first of the process", d, batchOf(0, "a", "a"), true},
		{"next", d, batchOf(2, "a"), false},
		{"next, a new folder", d, batchOf(3, "a", "b"), true},
		{"next, nothing in it", d, func() connectors.Batch { b := batchOf(5); b.Next = 9; return b }(), false},
		{"next, both folders", d, batchOf(9, "b", "a"), false},
		{"again", d, batchOf(9, "b", "a"), true},
		{"further on, after another process", d, batchOf(20, "a"), true},
		{"another process", opened(t, s, Settings{}), batchOf(21, "a"), true},
		{"another epoch", d, func() connectors.Batch { b := batchOf(21, "a"); b.Epoch = "another"; return b }(), true},
	} {
		if n := lists(step.d, step.b); (n > 0) != step.lists {
			t.Errorf("%s: %d listings", step.what, n)
		}
	}
	// A write that failed is no place to go on from.
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			s.Fail(w, "InternalError")
		}
		return r.Method == http.MethodPut
	}, nil)
	if _, err := d.Write(t.Context(), batchOf(40, "a")); err == nil {
		t.Fatal("wrote")
	}
	if lists(d, batchOf(41, "a")) == 0 {
		t.Error("after a failure: no listing")
	}
}

// put makes an object as an earlier batch would have.
func put(t *testing.T, s *objecttest.S3, b connectors.Batch, first, next int64) string {
	t.Helper()
	key := series("stream=orders/date=2026-11-22/", &b) + numbered(first) + ".ndjson"
	content := fmt.Sprintf(`{"_installation":"","_stream":"orders","_id":"x","_key":"","_op":"upsert","_version":0,"_occurred_at":null,"_received_at":null,"_ordinal":%d}`, first)
	meta := map[string]string{"X-Amz-Meta-Tributary-Next": fmt.Sprint(next)}
	if next < 0 {
		meta = nil
	}
	s.Put(t, key, content, meta)
	return key
}

// TestCoveredFromAfar proves that an object is found that begins far below the batch, or behind pages of others, and in few listings.
func TestCoveredFromAfar(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		begin, end int64 // of the object
		others     int   // objects of one record before it
		first      int64 // of the batch
		covered    bool
		lists      int // at most
	}{
		"begins where the batch does":      {5_000, 5_010, 0, 5_000, true, 1},
		"begins near":                      {4_900, 5_010, 0, 5_000, true, 1},
		"begins a full batch below":        {100_000, 150_010, 0, 150_000, true, 3},
		"begins at 0 and spans everything": {0, 1 << 40, 0, 9_999_999_999, true, 8},
		"ends below":                       {4_900, 5_000, 0, 5_000, false, 1},
		"behind a page of others":          {1_999, 5_010, 1_990, 2_500, true, 2},
		"nothing there":                    {-1, 0, 0, 9_999_999_999, false, 8},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := objecttest.NewS3(t, s3Returned)
			b := batchOf(test.first, "orders")
			for i := range test.others {
				put(t, s, b, int64(i), int64(i+1))
			}
			if test.begin >= 0 {
				put(t, s, b, test.begin, test.end)
			}
			before := len(s.Objects(t))
			write(t, opened(t, s, Settings{}), b)
			if wrote := len(s.Objects(t)) - before; (wrote == 0) != test.covered {
				t.Errorf("%d new objects, want it covered: %t", wrote, test.covered)
			}
			if n := len(s.Requests("list-type")); n > test.lists {
				t.Errorf("%d listings, want at most %d", n, test.lists)
			}
		})
	}
}

// TestForeignObjects proves that an object without our metadata is not taken for one of ours, and that others in the folder don't disturb.
func TestForeignObjects(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	b := batchOf(10, "orders")
	key := put(t, s, b, 10, -1)
	_, err := opened(t, s, Settings{}).Write(t.Context(), b)
	if kindOf(t, err) != connectors.Invalid || !strings.Contains(err.Error(), key) {
		t.Fatalf("got %v", err)
	}
	put(t, s, b, 10, 3) // a range that does not hold its own beginning
	if err := opened(t, s, Settings{Compression: "none"}).collide(t, b); kindOf(t, err) != connectors.Invalid {
		t.Fatalf("got %v", err)
	}
	for _, name := range []string{"README.md", "note", "0" + numbered(5) + ".ndjson"} {
		s.Put(t, series("stream=notes/date=2026-11-22/", &b)+name, "", nil)
	}
	write(t, opened(t, s, Settings{}), batchOf(11, "notes"))
}

// collide writes a batch without having looked at what is there, as if an object had come in between.
func (d *destination) collide(t *testing.T, b connectors.Batch) error {
	t.Helper()
	before := b
	before.First, before.Next = 0, b.First
	ends := make(map[string]int64)
	for _, p := range d.portions(&b, &connectors.Result{Outcomes: make([]connectors.Outcome, len(b.Records))}) {
		ends[p.folder] = 0
	}
	d.lanes.moved(&before, nil, ends)
	_, err := d.Write(t.Context(), b)
	return err
}

// TestParts proves that a large object goes up in parts, that the condition holds when it is completed, and that no parts are left of an upload that
// was not: they would cost money and be seen by nobody.
func TestParts(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	b := batchOf(0, repeat("orders", 40)...)
	for i := range b.Records {
		b.Records[i].Data = []byte(`"` + strings.Repeat("0123456789abcdef", 1<<15) + `"`) // 512 KiB
	}
	left := func(d *destination) int {
		t.Helper()
		out, err := d.account.(*s3Account).client.ListMultipartUploads(context.Background(), &s3.ListMultipartUploadsInput{Bucket: aws.String(bucket)})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.Uploads)
	}

	// Given up while a part is on its way.
	d := opened(t, s, Settings{Compression: "none"})
	ctx, cancel := context.WithCancel(t.Context())
	s.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && objecttest.Operation(r) == "uploadId" {
			cancel()
		}
		return false
	}, nil)
	if _, err := d.Write(ctx, b); kindOf(t, err) != connectors.Unavailable {
		t.Fatalf("got %v", err)
	}
	if n := left(d); n != 0 {
		t.Errorf("%d uploads are left of the one that was given up", n)
	}
	if n := len(s.Objects(t)); n != 0 {
		t.Errorf("%d objects of a write that was given up", n)
	}

	s.Intercept(nil, nil)
	write(t, d, b)
	if parts := len(s.Requests("PUT", "uploadId")); parts < 3 {
		t.Errorf("%d parts", parts)
	}
	wantOrdinals(t, s, b)

	// Met at its completion by an object of that name.
	if err := opened(t, s, Settings{Compression: "none"}).collide(t, b); err != nil {
		t.Fatal(err)
	}
	if n := left(d); n != 0 {
		t.Errorf("%d uploads are left of the one that came too late", n)
	}
	wantOrdinals(t, s, b)
}

// TestHalfAnObject proves that what could not be encoded to its end is not there at all.
func TestHalfAnObject(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	g := objecttest.NewGCS(t, nil, gcsReturned)
	for name, d := range map[string]*destination{"s3": openOn(t, S3(), s3Connection(s), Settings{}), "gcs": openOn(t, GCS(), gcsConnection(g), Settings{})} {
		defer d.Close()
		d.format.encode = func(w io.Writer, _ *portion) error {
			if _, err := w.Write([]byte("half")); err != nil {
				return err
			}
			return errors.New("the encoder failed")
		}
		if _, err := d.Write(t.Context(), batchOf(0, "orders")); kindOf(t, err) == "" {
			t.Errorf("%s: no error", name)
		}
	}
	if n := len(s.Objects(t)) + len(g.Objects(t)); n != 0 {
		t.Errorf("%d objects of half the records", n)
	}
}

// TestLanesAreForgotten proves that what a process remembers of lanes is bounded.
func TestLanesAreForgotten(t *testing.T) {
	t.Parallel()
	var l lanes
	for i := range 3 * maxLanes {
		b := batchOf(0)
		b.Epoch = fmt.Sprint(i)
		l.moved(&b, nil, nil)
	}
	if len(l.at) > maxLanes {
		t.Errorf("%d lanes", len(l.at))
	}
	b := batchOf(0)
	for i := range 3 * maxFolders {
		l.moved(&b, l.known(&b), map[string]int64{fmt.Sprint(i): 1})
	}
	if n := len(l.known(&b)); n > maxFolders {
		t.Errorf("%d folders", n)
	}
}

// kindOf is the kind of an error that a destination returned; everything else than an *Error is a fault.
func kindOf(t *testing.T, err error) connectors.Kind {
	t.Helper()
	if err == nil {
		return ""
	}
	var e *connectors.Error
	if !errors.As(err, &e) || error(e) != err {
		t.Fatalf("%T left the connector: %v", err, err)
	}
	return e.Kind
}
