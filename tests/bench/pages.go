package main

import (
	"context"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// pages is a source without a network: an app with a given number of objects, read page by page. It makes a page as
// JSON and splits it by scanning, as a connector does with an answer; the floor reads the very same. Its records have no ID: whoever
// reads them makes it of what they hold.
type pages struct{ set pageSettings }

type pageSettings struct {
	Records int `json:"records" jsonschema:"description=How many objects there are"`
	Page    int `json:"page" jsonschema:"description=Objects a page,minimum=1"`
	// Delay is how long the app takes for a page, in milliseconds.
	Delay int `json:"delay_ms,omitempty" jsonschema:"description=Latency of a page in milliseconds"`
}

const (
	pagesName   = "bench-pages"
	pagesStream = "items"
	// recordBytes is what each object takes as JSON.
	recordBytes = 495
)

var _ connectors.Source = (*pages)(nil)

func pagesDefinition() connectors.Definition {
	return connectors.Definition{
		Name: pagesName, Title: "Pages", Doc: "Objects that are made up as they are read, to measure by.",
		Settings: pageSettings{}, Streams: []connectors.Stream{{Name: pagesStream, Polls: true}}, Polls: true,
		OpenSource: func(c connectors.Config) (any, error) {
			set, err := connectors.Decode[pageSettings](c.Settings)
			if err != nil {
				return nil, err
			}
			if set.Page < 1 {
				return nil, connectors.Errorf(connectors.Invalid, "settings", "page: want 1 or more")
			}
			return &pages{set}, nil
		},
	}
}

// epoch is when the first object was changed; each later one was a microsecond later.
var epoch = time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)

// padding fills an object up to recordBytes.
var padding = func() []byte {
	const text = "the quick brown fox jumps over the lazy dog, "
	b := make([]byte, recordBytes)
	for i := range b {
		b[i] = text[i%len(text)]
	}
	return b
}()

// Fetch takes the number of objects read so far as the cursor.
func (p *pages) Fetch(ctx context.Context, req connectors.FetchRequest) (connectors.Page, error) {
	first := 0
	if req.Cursor != nil {
		var err error
		if first, err = strconv.Atoi(string(req.Cursor)); err != nil {
			return connectors.Page{}, connectors.Errorf(connectors.CursorExpired, "fetch", "the cursor is no number")
		}
	}
	answered := time.After(time.Duration(p.set.Delay) * time.Millisecond)
	next := min(first+p.set.Page, p.set.Records)
	body := render(first, next) // the app's own work is in the time that it takes
	if p.set.Delay > 0 {
		select {
		case <-answered:
		case <-ctx.Done():
			return connectors.Page{}, connectors.AsError("fetch", ctx.Err())
		}
	}
	page := connectors.Page{Cursor: strconv.AppendInt(nil, int64(next), 10), More: next < p.set.Records, Records: make([]connectors.Record, 0, next-first)}
	gjson.GetBytes(body, pagesStream).ForEach(func(_, item gjson.Result) bool {
		changed := item.Get("changed").Int()
		r := connectors.Record{
			Stream: pagesStream, Key: item.Get("id").Str, Op: connectors.Upsert, Version: changed,
			OccurredAt: time.UnixMicro(changed), Data: body[item.Index : item.Index+len(item.Raw)],
		}
		page.Records = append(page.Records, r)
		return true
	})
	return page, nil
}

// render makes the answer that holds the objects from first up to next.
func render(first, next int) []byte {
	b := make([]byte, 0, (next-first)*(recordBytes+1)+32)
	b = append(b, `{"`+pagesStream+`":[`...)
	for i := first; i < next; i++ {
		if i > first {
			b = append(b, ',')
		}
		b = object(b, i)
	}
	return append(b, `]}`...)
}

// object appends one object of recordBytes.
func object(b []byte, i int) []byte {
	start := len(b)
	b = append(b, `{"id":"item-`...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, `","changed":`...)
	b = strconv.AppendInt(b, epoch.UnixMicro()+int64(i), 10)
	b = append(b, `,"price":"19.99","tags":["a","b"],"text":"`...)
	b = append(b, padding[:recordBytes-(len(b)-start)-2]...)
	return append(b, `"}`...)
}
