package webhook_test

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// TestGitHubPayloads receives 180 payloads as GitHub sends them: each gives one record of its event's stream, with
// the delivery's ID and the body byte for byte.
func TestGitHubPayloads(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../tests/testdata/github-webhooks/*.payload.json")
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 180 {
		t.Fatalf("found %d payloads, want 180", len(files))
	}
	github := senders()["github"]
	r := open(t, github.settings, github.secret, time.Time{})
	for i, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		event, _, _ := strings.Cut(filepath.Base(file), ".")
		id := fmt.Sprintf("72d3162e-cc78-11e3-81ab-%012d", i)
		d := connectors.Delivery{Method: http.MethodPost, Body: body, Header: http.Header{}}
		d.Header.Set("X-GitHub-Event", event)
		d.Header.Set("X-GitHub-Delivery", id)
		github.sign(&d, github.secret, time.Time{})
		got, err := r.Receive(t.Context(), d)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if len(got.Records) != 1 {
			t.Errorf("%s: got %d records", file, len(got.Records))
			continue
		}
		rec := got.Records[0]
		if rec.ID != id || rec.Stream != event || rec.Op != connectors.Upsert || !bytes.Equal(rec.Data, body) {
			t.Errorf("%s: got ID %s, stream %s, op %s, %d bytes; want %s, %s, upsert, the %d bytes of the file",
				file, rec.ID, rec.Stream, rec.Op, len(rec.Data), id, event, len(body))
		}
	}
}
