package connectortest

import (
	"errors"
	"strings"
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

// WantKind checks the kind of an error, and that it says the words. It returns the error for what else is to be checked.
func WantKind(t *testing.T, err error, kind connectors.Kind, words ...string) *connectors.Error {
	t.Helper()
	var e *connectors.Error
	if !errors.As(err, &e) || e.Kind != kind {
		t.Errorf("got %v, want kind %s", err, kind)
		return &connectors.Error{}
	}
	for _, w := range words {
		if !strings.Contains(e.Error(), w) {
			t.Errorf("%q does not say %q", e, w)
		}
	}
	return e
}
