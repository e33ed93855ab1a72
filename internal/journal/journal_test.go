package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		appendUntilKilled(dir)
	}
	goleak.VerifyTestMain(m)
}

// small files, so that tests come across many.
var small = Options{SegmentBytes: 16 << 10}

func start(t testing.TB, dir string, o Options) *Journal {
	t.Helper()
	j, err := Open(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := j.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return j
}

func stop(t testing.TB, j *Journal) {
	t.Helper()
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
}

// entry is about n bytes that name the index they are meant for.
func entry(index uint64, n int) []byte {
	return fmt.Appendf(nil, "%d:%s", index, strings.Repeat("x", n))
}

// fill appends n entries, alone and in batches, and returns the next index.
func fill(t testing.TB, j *Journal, n, size int) uint64 {
	t.Helper()
	_, next := j.Bounds()
	for end := next + uint64(n); next < end; {
		var batch [][]byte
		for range min(1+next%4, end-next) {
			batch = append(batch, entry(next+uint64(len(batch)), size))
		}
		first, err := j.AppendAll(t.Context(), batch)
		if err != nil || first != next {
			t.Fatalf("AppendAll = %d, %v; want %d", first, err, next)
		}
		next += uint64(len(batch))
	}
	return next
}

// check reads everything there is and wants it to be exactly the entries of size in [first, next).
func check(t testing.TB, j *Journal, first, next uint64, size int) {
	t.Helper()
	if f, n := j.Bounds(); f != first || n != next {
		t.Fatalf("Bounds = %d, %d; want %d, %d", f, n, first, next)
	}
	for i := first; i < next; {
		entries, err := j.Read(i, 5000)
		if err != nil || len(entries) == 0 {
			t.Fatalf("Read(%d) = %d entries, %v", i, len(entries), err)
		}
		for _, e := range entries {
			if e.Index != i || !bytes.Equal(e.Data, entry(i, size)) {
				t.Fatalf("entry %d = %d %.20q", i, e.Index, e.Data)
			}
			i++
		}
	}
	if entries, err := j.Read(next, 1); err != nil || len(entries) != 0 {
		t.Fatalf("Read at the end = %v, %v", entries, err)
	}
}

// Entries are there under consecutive indexes, at once and after opening again.
func TestAppendRead(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "not", "there")
	j := start(t, dir, small)
	check(t, j, 1, 1, 0)
	next := fill(t, j, 300, 500)
	check(t, j, 1, next, 500)
	id := j.ID()
	stop(t, j)
	j = start(t, dir, small)
	if j.ID() != id || len(id) != 36 {
		t.Errorf("ID = %q, was %q", j.ID(), id)
	}
	check(t, j, 1, next, 500)
	check(t, j, 1, fill(t, j, 10, 500), 500)
	if other := start(t, t.TempDir(), small); other.ID() == id {
		t.Error("two journals share an ID")
	}
}

// Read keeps to maxBytes but for a first entry that is longer alone, within a group and across groups.
func TestReadBounds(t *testing.T) {
	t.Parallel()
	j := start(t, t.TempDir(), small)
	for range 10 {
		if _, err := j.AppendAll(t.Context(), [][]byte{make([]byte, 100), make([]byte, 100), make([]byte, 100)}); err != nil {
			t.Fatal(err)
		}
	}
	for max, want := range map[int]int{0: 1, 99: 1, 100: 1, 199: 1, 200: 2, 500: 5, 3000: 30, 1 << 30: 30} {
		if entries, err := j.Read(1, max); err != nil || len(entries) != want {
			t.Errorf("Read(1, %d) = %d entries, %v; want %d", max, len(entries), err, want)
		}
	}
	if entries, err := j.Read(0, 1); err != nil || len(entries) != 1 || entries[0].Index != 1 {
		t.Errorf("Read(0) = %v, %v; want the first entry", entries, err)
	}
	for i := uint64(30); i >= 1; i-- { // against the order in which groups are found cheaply
		if entries, err := j.Read(i, 1<<30); err != nil || len(entries) != int(31-i) || entries[0].Index != i {
			t.Errorf("Read(%d) = %d entries, %v", i, len(entries), err)
		}
	}
}

// Many at once get an index each, and each finds its own bytes there.
func TestConcurrentAppends(t *testing.T) {
	t.Parallel()
	j := start(t, t.TempDir(), small)
	var (
		wg  sync.WaitGroup
		mu  sync.Mutex
		got = map[uint64]string{}
	)
	const writers, each = 16, 40
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				data := fmt.Sprintf("%d/%d", w, i)
				index, err := j.Append(t.Context(), []byte(data))
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				got[index] = data
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	entries, err := j.Read(1, 1<<30)
	if err != nil || len(entries) != writers*each || len(got) != writers*each {
		t.Fatalf("%d entries, %d indexes, %v; want %d", len(entries), len(got), err, writers*each)
	}
	for _, e := range entries {
		if got[e.Index] != string(e.Data) {
			t.Errorf("entry %d = %q, want %q", e.Index, e.Data, got[e.Index])
		}
	}
}

// Truncating moves the first index, durably, and releases files; an index is never used again, also not
// after everything was truncated and the journal opened again.
func TestTruncate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := start(t, dir, small)
	next := fill(t, j, 300, 500)
	if err := j.TruncateBefore(next + 1); err == nil {
		t.Error("truncated what isn't there")
	}
	for _, index := range []uint64{0, 1, 100, 100, 40, 250} {
		if err := j.TruncateBefore(index); err != nil {
			t.Fatal(err)
		}
	}
	check(t, j, 250, next, 500)
	if n := files(t, dir); n > 5 {
		t.Errorf("%d files hold 50 entries of 500 bytes", n)
	}
	stop(t, j)
	j = start(t, dir, small)
	check(t, j, 250, next, 500)
	for range 3 {
		if err := j.TruncateBefore(next); err != nil {
			t.Fatal(err)
		}
		if last, err := j.log.wal.LastIndex(); err != nil || last != j.log.last {
			t.Errorf("the last group is %d, %v; want %d kept", last, err, j.log.last)
		}
		if j.Size() != 0 {
			t.Errorf("Size = %d of an empty journal", j.Size())
		}
		stop(t, j)
		j = start(t, dir, small)
		check(t, j, next, next, 500)
		first := next
		next = fill(t, j, 100, 500)
		check(t, j, first, next, 500)
	}
	if n := files(t, dir); n > 6 {
		t.Errorf("%d files hold 100 entries of 500 bytes", n)
	}
}

func files(t *testing.T, dir string) (n int) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "*.wal"))
	if err != nil {
		t.Fatal(err)
	}
	return len(paths)
}

// When files lose entries that were truncated already, nothing is lost, and indexes go on behind them.
func TestTruncatedEntriesLost(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := start(t, dir, Options{})
	next := fill(t, j, 20, 100)
	if err := j.TruncateBefore(next); err != nil {
		t.Fatal(err)
	}
	stop(t, j)
	for _, keep := range []int64{1000, 0} {
		paths, err := filepath.Glob(filepath.Join(dir, "*.wal"))
		if err != nil || len(paths) != 1 {
			t.Fatal(paths, err)
		}
		if err := os.Truncate(paths[0], keep); err != nil {
			t.Fatal(err)
		}
		j = start(t, dir, Options{})
		check(t, j, next, next, 100)
		stop(t, j)
	}
	j = start(t, dir, Options{})
	check(t, j, next, fill(t, j, 5, 100), 100)
}

// Past MaxBytes appends are refused, and taken again once entries are truncated; what could never fit is
// told apart.
func TestFull(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	o := Options{MaxBytes: 100_000, SegmentBytes: 16 << 10}
	j := start(t, dir, o)
	if _, err := j.Append(t.Context(), make([]byte, 100_001)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("an entry past MaxBytes: %v, want ErrTooLarge", err)
	}
	if _, err := j.AppendAll(t.Context(), nil); err == nil {
		t.Error("appended nothing")
	}
	var err error
	for i := 0; err == nil && i < 200; i++ {
		_, err = j.Append(t.Context(), make([]byte, 1000))
	}
	_, next := j.Bounds()
	if !errors.Is(err, ErrFull) || next < 90 || next > 101 {
		t.Fatalf("after %d entries of 1 KB: %v, want ErrFull at about 100", next-1, err)
	}
	stop(t, j)
	j = start(t, dir, o)
	if size := j.Size(); size < 85_000 || size > 115_000 {
		t.Errorf("Size = %d after opening again", size)
	}
	if err := j.TruncateBefore(next / 2); err != nil {
		t.Fatal(err)
	}
	if size := j.Size(); size < 35_000 || size > 65_000 {
		t.Errorf("Size = %d of half the entries", size)
	}
	if _, err := j.Append(t.Context(), make([]byte, 1000)); err != nil {
		t.Errorf("after truncating half: %v", err)
	}
}

// Wait returns when the entry is there, when the context ends, and when the journal closes.
func TestWait(t *testing.T) {
	t.Parallel()
	j := start(t, t.TempDir(), small)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	waited := make(chan error)
	go func() { waited <- j.Wait(ctx, 3) }()
	fill(t, j, 2, 10)
	select {
	case err := <-waited:
		t.Fatalf("Wait(3) returned %v with 2 entries", err)
	default:
	}
	fill(t, j, 1, 10)
	if err := <-waited; err != nil {
		t.Fatal(err)
	}
	canceled, cancel2 := context.WithCancel(ctx)
	cancel2()
	if err := j.Wait(canceled, 4); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want context.Canceled", err)
	}
	go func() { waited <- j.Wait(ctx, 4) }()
	stop(t, j)
	if err := <-waited; !errors.Is(err, ErrClosed) {
		t.Errorf("Wait = %v, want ErrClosed", err)
	}
}

// A closed journal says so, and every append that it interrupts has an answer that is true.
func TestClose(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := start(t, dir, small)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		acked []uint64
	)
	for range 8 {
		wg.Go(func() {
			for {
				index, err := j.Append(t.Context(), []byte("x"))
				if err != nil {
					if !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					return
				}
				mu.Lock()
				acked = append(acked, index)
				mu.Unlock()
			}
		})
	}
	if err := j.Wait(t.Context(), 20); err != nil {
		t.Fatal(err)
	}
	stop(t, j)
	wg.Wait()
	if err := j.TruncateBefore(5); !errors.Is(err, ErrClosed) {
		t.Errorf("TruncateBefore = %v, want ErrClosed", err)
	}
	if err := j.Close(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Close = %v, want ErrClosed", err)
	}
	j = start(t, dir, small)
	if _, next := j.Bounds(); next != slices.Max(acked)+1 {
		t.Errorf("next = %d, the last acknowledged was %d", next, slices.Max(acked))
	}
}

// An append whose context has ended returns at once, and holds no room for ever.
func TestAppendCanceled(t *testing.T) {
	t.Parallel()
	j := start(t, t.TempDir(), Options{MaxBytes: 10_000})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for range 50 { // each takes a tenth of the room while it waits
		if _, err := j.Append(ctx, make([]byte, 900)); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrFull) {
			t.Fatal(err)
		}
	}
	// One goes in after all that wait.
	var err error
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		_, next := j.Bounds()
		if err := j.TruncateBefore(next); err != nil {
			t.Fatal(err)
		}
		if _, err = j.Append(t.Context(), make([]byte, 900)); err == nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.pending != 0 {
		t.Errorf("%d bytes are held by appends that have ended", j.pending)
	}
}

// A second opener, of this or another process, is told what to do, until the first has closed.
func TestLock(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := start(t, dir, small)
	if _, err := Open(dir, small); err == nil || !strings.Contains(err.Error(), "another process has it open") {
		t.Errorf("second Open: %v", err)
	}
	stop(t, j)
	start(t, dir, small)
}

// Options and directories that can't work are refused.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	for _, o := range []Options{{MaxBytes: -1}, {SegmentBytes: -1}, {SegmentBytes: 2 << 30}} {
		if _, err := Open(t.TempDir(), o); err == nil {
			t.Errorf("opened with %+v", o)
		}
	}
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{file, filepath.Join(file, "below")} {
		if _, err := Open(dir, Options{}); err == nil {
			t.Errorf("opened %s", dir)
		}
	}
}

// A changed bit in an entry is found when it is read; the entries around it are read.
func TestDamagedEntry(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	j := start(t, dir, small)
	next := fill(t, j, 100, 500)
	stop(t, j)
	const damaged = 7
	found := false
	if err := fs.WalkDir(os.DirFS(dir), ".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || found || !strings.HasSuffix(path, ".wal") {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		if at := bytes.Index(b, entry(damaged, 500)); at >= 0 && err == nil {
			found = true
			b[at+100+rand.IntN(300)] ^= 1
			err = os.WriteFile(filepath.Join(dir, path), b, 0o600)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	j = start(t, dir, small)
	if entries, err := j.Read(1, 1<<30); err != nil || len(entries) != damaged-1 {
		t.Errorf("before it: %d entries, %v", len(entries), err)
	}
	if _, err := j.Read(damaged, 1<<30); !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "entry 7") {
		t.Errorf("it: %v, want ErrDamaged and the index", err)
	}
	if entries, err := j.Read(damaged+1, 1<<30); err != nil || len(entries) != int(next-damaged)-1 {
		t.Errorf("behind it: %d entries, %v", len(entries), err)
	}
}
