package activities

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"

	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"
	"google.golang.org/protobuf/encoding/protojson"

	"tributary/connectors"
	"tributary/internal/integration"
	"tributary/internal/segment"
	"tributary/internal/vault"
)

// rowError is a driver's error that quotes the row.
type rowError struct{ row []byte }

func (e *rowError) Error() string { return "duplicate key value: " + string(e.row) }

// No payload and no secret is in a result, an error, a heartbeat or a log line (I7), whatever the connectors do: they fail with
// errors that are none of theirs, and panic, wherever they are called.
func TestNoSecretGetsOut(t *testing.T) {
	t.Parallel()
	const secret, payload = "canary-secret-8d1f", "canary-payload-77ab"
	row := record("r", "k", 1)
	row.Data = []byte(`{"card":"` + payload + `"}`)
	foreign := errors.Join(
		&url.Error{Op: "Get", URL: "https://app.example/?token=" + secret, Err: errors.New("refused " + secret)},
		fmt.Errorf("insert: %w", &rowError{row.Data}),
	)
	for name, fail := range map[string]func() error{
		"error":   func() error { return foreign },
		"row":     func() error { return &rowError{row.Data} },
		"wrapped": func() error { return fmt.Errorf("token %s: %w", secret, context.DeadlineExceeded) },
		"cause": func() error {
			return &connectors.Error{Kind: connectors.Unavailable, Message: "it failed", Err: foreign}
		},
		"panic":       func() error { panic("bad row " + string(row.Data) + secret) },
		"panic error": func() error { panic(foreign) },
	} {
		for _, source := range []string{"app", "shared"} {
			t.Run(name+" "+source, func(t *testing.T) {
				t.Parallel()
				r := newRig(t, source,
					integration.Destination{Name: "out", Connector: "sink"},
					integration.Destination{Name: "mapped", Connector: "sink", Map: `.card | tonumber`},
					integration.Destination{Name: "thrown", Connector: "sink", Map: `error(.card)`},
				)
				for _, connector := range []string{source, "sink"} {
					_, err := r.Vault.Put(t.Context(), vault.User(user), connector, "default", json.RawMessage(`{"token":"`+secret+`"}`), "")
					must(t, err)
				}
				r.seal(t, segment.Name{Epoch: "e1", Stream: "orders", Origin: PollOrigin, Sequence: 50}, row)
				entry := Entry{Ref: r.seal(t, webhook("e1", 5), row), First: 0}

				var mu sync.Mutex
				var out strings.Builder
				note := func(v any) {
					text, err := json.Marshal(v)
					must(t, err)
					mu.Lock()
					defer mu.Unlock()
					fmt.Fprintf(&out, "%s\n", text)
				}
				failures := 0
				run := func(activity string, in any) {
					t.Helper()
					var result map[string]any
					err := r.attempt(attemptOf{beat: 3e6, heard: func(details []any) { note(details) }}, activity, in, &result)
					if err != nil {
						// What a history would hold, causes and stack traces too.
						f := temporal.NewDefaultFailureConverter(temporal.DefaultFailureConverterOptions{DataConverter: converter.GetDefaultDataConverter()}).ErrorToFailure(err)
						text, merr := protojson.Marshal(f)
						must(t, merr)
						note(string(text))
					}
					note(result)
					if result["failure"] != nil || err != nil {
						failures++
					}
				}
				fetch := r.fetchInput()
				fetch.Reconcile, fetch.Seen = true, map[string]uint64{"journal-1": 0}
				write := func(lane string) WriteInput {
					return WriteInput{Target: r.target, Lane: lane, First: 0, Next: 1, Entries: []Entry{entry}}
				}
				all := func() {
					t.Helper()
					run(FetchName, fetch)
					run(WriteName, write("out"))
					run(CheckName, CheckInput{Target: r.target})
					run(CheckName, CheckInput{Target: r.target, Lane: "out"})
					run(CheckConnectionName, ConnectionInput{Owner: vault.User(user), Connector: source, Name: "default"})
					run(CheckConnectionName, ConnectionInput{Owner: vault.User(user), Connector: "sink", Name: "default"})
					run(SubscribeName, SubscribeInput{Target: r.target, Streams: []string{"orders"}})
					run(UnsubscribeName, SubscribeInput{Target: r.target, Streams: []string{"orders"}})
				}
				wantFailures := func(n int) {
					t.Helper()
					if failures != n {
						t.Errorf("%d activities failed; want %d:\n%s", failures, n, out.String())
					}
					failures = 0
				}

				// Every call of a connector fails, after a page with a payload was read.
				r.app.fetch = func(_ context.Context, req connectors.FetchRequest) (connectors.Page, error) {
					if req.Cursor == nil {
						return connectors.Page{Records: []connectors.Record{row}, Cursor: []byte("1"), More: true}, nil
					}
					return connectors.Page{}, fail()
				}
				r.sink.write = func(connectors.Batch) (connectors.Result, error) { return connectors.Result{}, fail() }
				r.app.check, r.sink.check, r.sink.closing = fail, fail, fail
				r.app.before = func(string) error { return fail() }
				all()
				wantFailures(8)
				// A record is refused by its map, and by a destination that stays within the seam.
				run(WriteName, write("mapped"))
				run(WriteName, write("thrown"))
				wantFailures(0)
				run(RequeueName, RequeueInput{Target: r.target, Lane: "mapped", Sequence: 1})
				run(RollName, RollInput{Target: r.target, Entries: []Entry{entry}, Sequence: 1})
				wantFailures(0)
				for _, q := range r.held(t) {
					note(q.Reason)
				}
				// Opening fails.
				must(t, r.rotate(t, source, secret))
				r.open = fail
				all()
				wantFailures(8)
				r.open = nil
				// The stores fail.
				r.breakStore(t)
				run(FetchName, fetch)
				run(WriteName, write("out"))
				run(RollName, RollInput{Target: r.target, Entries: []Entry{entry}, Sequence: 2})
				run(RequeueName, RequeueInput{Target: r.target, Lane: "thrown", Sequence: 2})
				wantFailures(4)
				must(t, r.Catalog.Close())
				all()
				wantFailures(8)
				run(ActivateName, EndInput{Target: r.target})
				run(EndName, EndInput{Target: r.target})
				run(PublishName, PublishInput{Target: r.target})
				run(RequeueName, RequeueInput{Target: r.target, Lane: "thrown", Sequence: 3})
				wantFailures(4)
				r.Blocks.Close()

				for where, text := range map[string]string{"results, errors and heartbeats": out.String(), "the log": r.log.String()} {
					for _, canary := range []string{secret, payload} {
						if i := strings.Index(text, canary); i >= 0 {
							t.Errorf("%s hold %s: %.400s", where, canary, text[max(0, i-300):])
						}
					}
				}
				if !strings.Contains(r.log.String(), "close destination") {
					t.Error("the log was not looked at")
				}
			})
		}
	}
}

// rotate gives the connections a new version, so that they are opened again.
func (r *rig) rotate(t *testing.T, source, secret string) error {
	t.Helper()
	for _, connector := range []string{source, "sink"} {
		if _, err := r.Vault.Put(t.Context(), vault.User(user), connector, "default", json.RawMessage(`{"token":"`+secret+`","again":1}`), ""); err != nil {
			return err
		}
	}
	return nil
}
