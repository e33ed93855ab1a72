package eventbridge

import (
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
)

// BenchmarkWrite compares the destination with its floor: the official client's PutEvents with the same entries ready-made, ten a request, as many
// requests at once.
func BenchmarkWrite(b *testing.B) {
	records := batch(5_000, 5_000)
	payload := []byte(`{"p": "` + strings.Repeat("abcdefgh", 60) + `xxxxxx"}`)
	for i := range records.Records {
		records.Records[i].Data = payload
	}
	s := serve(b)
	d := opened(b, at(s.URL), Settings{}).(*destination)
	rate := func(b *testing.B) {
		b.ReportMetric(float64(b.N*len(records.Records))/b.Elapsed().Seconds(), "records/s")
	}
	b.Run("floor", func(b *testing.B) {
		var requests [][]types.PutEventsRequestEntry
		for i := range records.Records {
			if i%maxEntries == 0 {
				requests = append(requests, nil)
			}
			entry, unfit := d.entry(context.Background(), &records, &records.Records[i])
			if unfit.Err != nil {
				b.Fatal(unfit.Err)
			}
			requests[len(requests)-1] = append(requests[len(requests)-1], entry)
		}
		for b.Loop() {
			work := make(chan []types.PutEventsRequestEntry)
			var senders sync.WaitGroup
			for range d.settings.Concurrency {
				senders.Go(func() {
					for entries := range work {
						if out, err := d.account.PutEvents(context.Background(), &eventbridge.PutEventsInput{Entries: entries}); err != nil || out.FailedEntryCount > 0 {
							b.Error(err)
						}
					}
				})
			}
			for _, r := range requests {
				work <- r
			}
			close(work)
			senders.Wait()
			s.Clear()
		}
		rate(b)
	})
	b.Run("destination", func(b *testing.B) {
		for b.Loop() {
			if _, err := d.Write(context.Background(), records); err != nil {
				b.Fatal(err)
			}
			s.Clear()
		}
		rate(b)
	})
}
