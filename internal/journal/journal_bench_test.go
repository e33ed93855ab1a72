package journal

import (
	"fmt"
	"slices"
	"sync"
	"testing"
)

// Durable appends of 1 KB by n goroutines at once.
func BenchmarkAppend(b *testing.B) {
	for _, n := range []int{1, 16, 64, 256} {
		b.Run(fmt.Sprintf("goroutines=%d", n), func(b *testing.B) {
			j := start(b, b.TempDir(), Options{})
			data := make([]byte, 1024)
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			b.ResetTimer()
			var wg sync.WaitGroup
			for g := range n {
				wg.Go(func() {
					for range (b.N + g) / n {
						if _, err := j.Append(b.Context(), data); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "appends/s")
		})
	}
}

// Reading entries of 1 KB that were appended alone, and 64 at once.
func BenchmarkRead(b *testing.B) {
	const held = 4096
	for _, group := range []int{1, 64} {
		b.Run(fmt.Sprintf("group=%d", group), func(b *testing.B) {
			j := start(b, b.TempDir(), Options{})
			for range held / group {
				if _, err := j.AppendAll(b.Context(), slices.Repeat([][]byte{make([]byte, 1024)}, group)); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(1024)
			b.ResetTimer()
			read := 0
			for read < b.N {
				entries, err := j.Read(uint64(1+read%held), 256<<10)
				if err != nil || len(entries) == 0 {
					b.Fatal(err)
				}
				read += len(entries)
			}
			b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// Truncating everything after each append: what the forwarder does when little comes.
func BenchmarkTruncate(b *testing.B) {
	j := start(b, b.TempDir(), Options{})
	for b.Loop() {
		index, err := j.Append(b.Context(), make([]byte, 1024))
		if err != nil {
			b.Fatal(err)
		}
		if err := j.TruncateBefore(index + 1); err != nil {
			b.Fatal(err)
		}
	}
}
