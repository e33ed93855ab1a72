package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"

	"tributary/connectors"
)

// All objects are read once, each of the size that is said, through pages that end.
func TestPagesHoldEverythingOnce(t *testing.T) {
	t.Parallel()
	p := &pages{pageSettings{Records: 1203, Page: 500}}
	seen := map[string]bool{}
	req := connectors.FetchRequest{Stream: pagesStream}
	for n := 1; ; n++ {
		page, err := p.Fetch(context.Background(), req)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range page.Records {
			if len(r.Data) != recordBytes || !json.Valid(r.Data) {
				t.Fatalf("record of %d bytes: %s", len(r.Data), r.Data)
			}
			if seen[r.Key] || r.Key == "" || r.Version == 0 {
				t.Fatalf("key %q, version %d", r.Key, r.Version)
			}
			seen[r.Key] = true
		}
		req.Cursor = page.Cursor
		if !page.More {
			if n != 3 || len(seen) != 1203 {
				t.Fatalf("%d objects in %d pages", len(seen), n)
			}
			return
		}
	}
}

// Answers are told apart on a connection that stays open.
func TestGeneratorReadsAnswers(t *testing.T) {
	t.Parallel()
	c := &connection{in: bufio.NewReader(strings.NewReader("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n" +
		"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nContent-Length: 5\r\n\r\nbusy\n" +
		"HTTP/1.1 200 OK\r\n\r\n"))}
	for _, want := range []int{200, 503} {
		if got, err := c.answer(); err != nil || got != want {
			t.Fatalf("status %d, %v, want %d", got, err, want)
		}
	}
	if _, err := c.answer(); err == nil || err == io.EOF {
		t.Errorf("an answer without a length: %v", err)
	}
}
