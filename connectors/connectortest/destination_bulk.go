package connectortest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"
	"unsafe"

	"tributary/connectors"
)

// A batch is as large as a block allows, and many installations write at once: what a write needs besides its batch is bounded by the
// batch's own size, not by what is in the destination or by how often it comes.

const (
	// bulkDeadline bounds the write of the largest batch.
	bulkDeadline = 5 * time.Minute
	// bulkTries is how often memory is measured at most.
	bulkTries = 3
	// bulkPadding is how many bytes of text each of its payloads has.
	bulkPadding = 500
	// bulkFixed is memory in bytes that a write may take whatever it writes: pools, buffers of connections, a server in this process.
	bulkFixed = 24 << 20
)

// testBulk writes one batch of 100,000 records. It runs alone: the memory that it measures is the process's.
func testBulk(t *testing.T, h DestinationHarness, mode connectors.Mode, columns bool) {
	place := h.New
	if h.Apart != nil {
		place = h.Apart
	}
	b := &destinationTest{T: t, h: h, mode: mode, place: place(t), columns: columns}
	if columns && b.place.Columns == nil {
		return
	}
	b.bulk()
}

func (t *destinationTest) bulk() {
	n := t.h.Bulk
	if n == 0 {
		n = 100_000
	}
	if t.columns {
		n /= 5 // looking at what is there takes longer
	}
	times := t.h.Memory
	if times == 0 {
		times = 2.5
	}
	d := t.open()
	t.write(d, t.batch(0, record(0))) // connects, makes the table
	all := []connectors.Batch{t.batch(0, record(0))}
	// What else goes on in the machine only adds to what is measured: the least of a few tries counts.
	for try := range bulkTries {
		first := 1 + try*n
		b := t.batch(int64(first), bulky(first, n)...)
		all = append(all, b)
		own, grown := t.bulkWrite(d, b)
		most := bulkFixed + int64(times*float64(own))
		if grown <= most {
			break
		}
		if try == bulkTries-1 {
			t.Errorf("writing a batch of %d bytes took %d bytes of memory, more than %d", own, grown, most)
		}
	}
	t.want(rowsOf(all...))
}

// bulkWrite writes a batch and returns how many bytes it takes by itself, and by how many the memory grew meanwhile.
func (t *destinationTest) bulkWrite(d connectors.Destination, b connectors.Batch) (own, grown int64) {
	own = ownSize(b)
	peak := watchMemory()
	ctx, cancel := context.WithTimeout(context.Background(), bulkDeadline)
	defer cancel()
	began := time.Now()
	r, err := d.Write(ctx, b)
	took := time.Since(began)
	grown = peak()
	if err != nil {
		t.Fatalf("write of %d records: %v", len(b.Records), err)
	}
	t.wantOutcomes(b, r, nil)
	t.Logf("%d records of %d MiB in %.1f s, memory grew by %d MiB (%.2f of the batch)", len(b.Records), own>>20, took.Seconds(), grown>>20, float64(grown)/float64(own))
	return own, grown
}

// bulky makes n records whose payloads compress as badly as an app's do.
func bulky(first, n int) []connectors.Record {
	random := rand.New(rand.NewPCG(1, 2))
	const letters = "abcdefghijklmnopqrstuvwxyz      0123456789"
	text := make([]byte, bulkPadding)
	rs := records(first, first+n)
	for i := range rs {
		for j := range text {
			text[j] = letters[random.IntN(len(letters))]
		}
		rs[i].Data = fmt.Appendf(nil, `{"id": %d, "total_spent": "0.00", "verified": true, "note": "%s"}`, first+i, text)
	}
	return rs
}

// ownSize is the memory in bytes that a batch's records take.
func ownSize(b connectors.Batch) (n int64) {
	for _, r := range b.Records {
		n += int64(unsafe.Sizeof(r)) + int64(len(r.ID)+len(r.Stream)+len(r.Key)+len(r.Data))
	}
	return n
}

// watchMemory watches how far the memory of the process grows from now on, in bytes, until what it returns is called. Meanwhile garbage is
// collected early, so that what is counted is what is used.
func watchMemory() (peak func() int64) {
	percent := debug.SetGCPercent(20)
	debug.FreeOSMemory()
	before := usedMemory()
	stop, most := make(chan struct{}), make(chan int64)
	go func() {
		highest := before
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			highest = max(highest, usedMemory())
			select {
			case <-tick.C:
			case <-stop:
				most <- highest - before
				return
			}
		}
	}()
	return func() int64 {
		close(stop)
		grown := <-most
		debug.SetGCPercent(percent)
		return grown
	}
}

// usedMemory is the memory of the process in bytes that is its alone, what libraries in C take included, or where the system doesn't tell,
// what Go has from the system.
func usedMemory() int64 {
	if runtime.GOOS == "linux" {
		if raw, err := os.ReadFile("/proc/self/statm"); err == nil { // proc(5): size, resident and shared in pages
			var size, resident, shared int64
			if _, err := fmt.Sscan(string(raw), &size, &resident, &shared); err == nil {
				return (resident - shared) * int64(os.Getpagesize())
			}
		}
	}
	s := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64() - s[1].Value.Uint64())
}
