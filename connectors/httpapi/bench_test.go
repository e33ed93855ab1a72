package httpapi_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/httpapi"
)

// BenchmarkWrite compares the destination with its floor: the same requests by hand, as many at once and each with as much time, without the ID by
// which a receiver would notice a second time. A group of 100 shares a request.
func BenchmarkWrite(b *testing.B) {
	const size, atOnce = 2_000, 8
	batch := batchOf(make([]string, size)...)
	for i := range batch.Records {
		batch.Records[i].Data = []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	b.Cleanup(s.Close)
	b.Run("floor", func(b *testing.B) {
		client := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
		defer client.CloseIdleConnections()
		for b.Loop() {
			work := make(chan []byte)
			var all sync.WaitGroup
			for range atOnce {
				all.Go(func() {
					for body := range work {
						res, err := client.Post(s.URL, "application/json", bytes.NewReader(body))
						if err != nil {
							b.Error(err)
							continue
						}
						io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
				})
			}
			for i := range batch.Records {
				work <- batch.Records[i].Data
			}
			close(work)
			all.Wait()
		}
		rate(b, size)
	})
	for name, settings := range map[string]httpapi.Settings{
		"destination": {URL: s.URL, Concurrency: atOnce}, "groups": {URL: s.URL, Batch: &httpapi.Batch{Records: 100}},
		"groups, mapped": {URL: s.URL, Request: httpapi.Request{Body: "{$id, data: .}"}, Batch: &httpapi.Batch{Body: "{inputs: .}"}},
	} {
		b.Run(name, func(b *testing.B) {
			d := open(b, settings, nil)
			defer d.Close()
			for b.Loop() {
				if r, err := d.Write(context.Background(), batch); err != nil || r.Outcomes[size-1] != connectors.Durable {
					b.Fatal(err)
				}
			}
			rate(b, size)
		})
	}
}

func rate(b *testing.B, records int) {
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}
