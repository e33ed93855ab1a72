package pubsub

import (
	"fmt"
	"slices"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/pubsub/pubsubtest"
)

// served is a server with the topic changes, and a block that publishes to it.
func served(t testing.TB) (*pubsubtest.Server, Settings) {
	t.Helper()
	server := pubsubtest.New(t, pubsubtest.Options{Returned: returned})
	server.CreateTopic(t, path("changes"), nil)
	return server, Settings{Project: project, Topic: "changes"}
}

// batch makes n records of as many keys as told, in turn.
func batch(n, keys int) connectors.Batch {
	b := connectors.Batch{Installation: "i/ada", Integration: "i", User: "ada", Epoch: "e", Lane: "l", Next: int64(n)}
	for i := range n {
		b.Records = append(b.Records, connectors.Record{
			ID: fmt.Sprint("id", i), Stream: "orders", Key: fmt.Sprint("key", i%keys), Op: connectors.Upsert, Version: int64(i), Ordinal: int64(i), Data: fmt.Appendf(nil, `{"n": %d}`, i),
		})
	}
	return b
}

// versions are the published versions of each ordering key, in order.
func versions(s *pubsubtest.Server) map[string][]string {
	all := make(map[string][]string)
	for _, m := range s.Messages() {
		all[m.OrderingKey] = append(all[m.OrderingKey], m.Attributes["version"])
	}
	return all
}

// The ordering key is the record's key, its messages keep their order, and those that a batch has of a key share requests.
func TestKeysKeepTheirOrder(t *testing.T) {
	t.Parallel()
	server, settings := served(t)
	const n, keys = 2000, 20
	b := batch(n, keys)
	b.Records[7].Key = "" // an event about no object has no order
	r, err := opened(t, emulator(server.Addr), settings).Write(t.Context(), b)
	if err != nil || slices.ContainsFunc(r.Outcomes, func(o connectors.Outcome) bool { return o != connectors.Durable }) {
		t.Fatal(r, err)
	}
	got := versions(server)
	for key := range keys {
		var want []string
		for i := key; i < n; i += keys {
			if i != 7 {
				want = append(want, fmt.Sprint(i))
			}
		}
		if name := fmt.Sprint("key", key); !slices.Equal(got[name], want) {
			t.Errorf("%s: published %v, want %v", name, got[name], want)
		}
	}
	if !slices.Equal(got[""], []string{"7"}) {
		t.Errorf("without a key: %v", got[""])
	}
	if server.Requests() != keys+1 {
		t.Errorf("%d requests, want one a key and one", server.Requests())
	}
}

// A key that fails gets no later message in that Write; the next Write resumes it where it stood, while other keys went on.
func TestFailedKeyIsResumedInOrder(t *testing.T) {
	t.Parallel()
	server, settings := served(t)
	settings.RequestMax.Messages = 2
	failures := 0
	server.Fail(func(r *pubsubpb.PublishRequest) error {
		if r.Messages[0].Attributes["version"] == "12" && failures == 0 { // the third request of key0
			failures++
			return status.Error(codes.Unavailable, "try again")
		}
		return nil
	})
	d := opened(t, emulator(server.Addr), settings)
	b := batch(30, 3)
	r, err := d.Write(t.Context(), b)
	connectortest.WantError(t, err, connectors.Unavailable)
	for i, o := range r.Outcomes {
		want := connectors.Durable
		if i >= 12 && i%3 == 0 {
			want = connectors.Again
		}
		if o != want {
			t.Errorf("record %d has the outcome %d, want %d", i, o, want)
		}
	}
	if got := versions(server)["key0"]; !slices.Equal(got, []string{"0", "3", "6", "9"}) {
		t.Fatalf("key0: published %v before the failure is repaired", got)
	}
	var rest []connectors.Record
	for i, o := range r.Outcomes {
		if o == connectors.Again {
			rest = append(rest, b.Records[i])
		}
	}
	b.Records = rest
	if _, err := d.Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if got, want := versions(server)["key0"], []string{"0", "3", "6", "9", "12", "15", "18", "21", "24", "27"}; !slices.Equal(got, want) {
		t.Fatalf("key0: published %v, want %v", got, want)
	}
}

// Without ordering keys, requests are as few as the limits allow.
func TestUnorderedFillsRequests(t *testing.T) {
	t.Parallel()
	server, settings := served(t)
	settings.Unordered, settings.Concurrency = true, 1
	if _, err := opened(t, emulator(server.Addr), settings).Write(t.Context(), batch(2500, 2500)); err != nil {
		t.Fatal(err)
	}
	if server.Requests() != 3 || len(versions(server)) != 1 {
		t.Errorf("%d requests with %d ordering keys, want 3 with none", server.Requests(), len(versions(server)))
	}
	settings.RequestMax.Bytes = 10_000
	before := server.Requests()
	if _, err := opened(t, emulator(server.Addr), settings).Write(t.Context(), batch(100, 100)); err != nil {
		t.Fatal(err)
	}
	if got := server.Requests() - before; got < 4 || got > 6 {
		t.Errorf("%d requests of 10,000 bytes for 100 records of about 450", got)
	}
}
