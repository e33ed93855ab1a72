package connectortest

import (
	"testing"

	"tributary/connectors"
)

// Poll reads a stream until there is no more, and leaves the cursor for the next time.
func Poll(t *testing.T, source connectors.Source, stream string, cursor *[]byte) (records []connectors.Record) {
	t.Helper()
	for range 10_000 {
		page, err := source.Fetch(t.Context(), connectors.FetchRequest{Stream: stream, Cursor: *cursor})
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, page.Records...)
		*cursor = page.Cursor
		if !page.More {
			return records
		}
	}
	t.Fatal("the stream does not end")
	return nil
}
