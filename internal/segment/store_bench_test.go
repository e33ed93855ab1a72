package segment

import (
	"slices"
	"testing"

	"tributary/connectors"
)

// Sealing and loading 5,000 records of 500 B in files, as a poll's chunk does.
func BenchmarkSealLoadFile(b *testing.B) {
	s, err := Open(b.Context(), "file://"+b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	r := samples()[1]
	r.Data = make([]byte, 500)
	chunk := builder(slices.Repeat([]connectors.Record{r}, 5000)...)
	b.SetBytes(chunk.Size())
	for i := uint64(0); b.Loop(); i++ {
		ref, err := s.Seal(b.Context(), Name{Epoch: "e", Stream: "s", Origin: "o", Sequence: i}, chunk)
		if err != nil {
			b.Fatal(err)
		}
		seg, err := s.Load(b.Context(), ref.Name)
		if err != nil {
			b.Fatal(err)
		}
		read := 0
		for range seg.Records() {
			read++
		}
		if read != 5000 {
			b.Fatalf("read %d records", read)
		}
	}
	b.ReportMetric(float64(b.N)*5000/b.Elapsed().Seconds(), "records/s")
}
