package datastream

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// One POST a record is bound by its RSA signature; an array shares one.
func BenchmarkWrite(b *testing.B) {
	const records = 200
	for _, array := range []bool{false, true} {
		b.Run(fmt.Sprint("array=", array), func(b *testing.B) {
			s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			b.Cleanup(s.Close)
			d := opened(b, s.URL, map[string]any{"array": array})
			batch := batchOf(make([]string, records)...)
			for i := range batch.Records {
				batch.Records[i].Data = fmt.Appendf(nil, `{"customers": {"id": %d, "note": "%s"}}`, i, strings.Repeat("x", 1000))
			}
			for b.Loop() {
				if _, err := d.Write(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

func BenchmarkSign(b *testing.B) {
	k, err := parseConnection(keys())
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(strings.Repeat("x", 1000))
	for b.Loop() {
		if err := k.sign(http.Header{}, "https://example.com/", "id", time.Unix(0, 0), body); err != nil {
			b.Fatal(err)
		}
	}
}
