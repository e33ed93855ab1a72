package pubsub

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/pubsub/pubsubtest"
)

// Every code that the service documents has its kind, and of the server's words nothing is told.
func TestCodesHaveKinds(t *testing.T) {
	t.Parallel()
	want := map[codes.Code]connectors.Kind{
		codes.Canceled: connectors.Unavailable, codes.DeadlineExceeded: connectors.Unavailable, codes.Aborted: connectors.Unavailable,
		codes.Internal: connectors.Unavailable, codes.Unavailable: connectors.Unavailable, codes.ResourceExhausted: connectors.RateLimited,
		codes.Unauthenticated: connectors.Unauthorized, codes.PermissionDenied: connectors.Forbidden, codes.NotFound: connectors.NotFound,
		codes.FailedPrecondition: connectors.Invalid, codes.Unimplemented: connectors.Invalid, codes.OutOfRange: connectors.Invalid,
		codes.InvalidArgument: "", // refuses the record
		codes.Unknown:         connectors.Unknown, codes.DataLoss: connectors.Unknown, codes.AlreadyExists: connectors.Unknown,
	}
	const canary = "canary-of-the-payload"
	for _, code := range pubsubtest.Errors {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			kind, known := want[code]
			if !known {
				t.Fatal("no kind is wanted for it")
			}
			server, settings := served(t)
			answered := 0
			server.Fail(func(*pubsubpb.PublishRequest) error {
				answered++
				s, err := status.New(code, "about "+canary).WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(90 * time.Second)})
				if err != nil {
					t.Error(err)
				}
				return s.Err()
			})
			r, err := opened(t, emulator(server.Addr), settings).Write(t.Context(), batch(1, 1))
			if answered != 1 {
				t.Errorf("asked %d times: the engine tries again, not the client", answered)
			}
			if kind == "" {
				if err != nil || r.Outcomes[0] != connectors.Rejected || strings.Contains(r.Reasons[0], canary) {
					t.Fatalf("got %v %v", r, err)
				}
				return
			}
			connectortest.WantError(t, err, kind)
			var e *connectors.Error
			if errors.As(err, &e); e.Wait != 90*time.Second || strings.Contains(e.Error(), canary) {
				t.Errorf("got %q with a wait of %v", e, e.Wait)
			}
		})
	}
}

// A record that the topic's schema refuses is found and rejected, and no other.
func TestSchemaRejectsTheRecord(t *testing.T) {
	t.Parallel()
	server := pubsubtest.New(t, pubsubtest.Options{Returned: returned})
	server.CreateTopic(t, path("typed"), func(data []byte) bool { return !bytes.Contains(data, []byte("wrong")) })
	for _, unordered := range []bool{true, false} {
		b := batch(200, 10)
		bad := []int{3, 4, 77, 199}
		for _, i := range bad {
			b.Records[i].Data = []byte(`{"wrong": "canary"}`)
		}
		r, err := opened(t, emulator(server.Addr), Settings{Project: project, Topic: "typed", Unordered: unordered}).Write(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range r.Outcomes {
			if rejected := o == connectors.Rejected; rejected != slices.Contains(bad, i) || !rejected && o != connectors.Durable {
				t.Errorf("record %d has the outcome %d", i, o)
			} else if rejected && (!strings.Contains(r.Reasons[i], "schema") || strings.Contains(r.Reasons[i], "canary")) {
				t.Errorf("record %d is rejected for %q", i, r.Reasons[i])
			}
		}
	}
	if got := len(server.Messages()); got != 2*196 {
		t.Errorf("%d messages, want 392", got)
	}
}

// What Pub/Sub can't hold is rejected by itself, before it is sent.
func TestLimitsRejectTheRecord(t *testing.T) {
	t.Parallel()
	server, settings := served(t)
	settings.Unordered = true
	b := batch(6, 6)
	b.Records[1].Stream = strings.Repeat("s", maxAttribute+1)
	b.Records[2].Data = bytes.Repeat([]byte{'x'}, maxRequest)
	b.Records[3].Stream = "\xff"
	b.Records[4].Data = bytes.Repeat([]byte{'x'}, maxRequest-1000)
	b.Records[5].Stream = strings.Repeat("s", maxAttribute)
	d := opened(t, emulator(server.Addr), settings)
	r, err := d.Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	if want := []connectors.Outcome{connectors.Durable, connectors.Rejected, connectors.Rejected, connectors.Rejected, connectors.Durable, connectors.Durable}; !slices.Equal(r.Outcomes, want) {
		t.Fatalf("got %v, want %v: %v", r.Outcomes, want, r.Reasons)
	}
	for i, part := range map[int]string{1: "stream of 1025 bytes", 2: "larger than the 10000000", 3: "UTF-8"} {
		if !strings.Contains(r.Reasons[i], part) {
			t.Errorf("record %d is rejected for %q, want %q", i, r.Reasons[i], part)
		}
	}
}

// Requests hold what the limits allow even where attributes weigh more than payloads.
func TestAttributesCountForTheSize(t *testing.T) {
	t.Parallel()
	server, settings := served(t)
	settings.Unordered, settings.RequestMax.Bytes, settings.Concurrency = true, maxBytes, 1
	b := batch(6000, 6000)
	b.Installation, b.User = strings.Repeat("i", maxAttribute), strings.Repeat("u", maxAttribute)
	for i := range b.Records {
		b.Records[i].Data = bytes.Repeat([]byte{'1'}, 8_000)
	}
	if _, err := opened(t, emulator(server.Addr), settings).Write(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if n := server.Requests(); n > 8 { // were one too large, its halves would be sent
		t.Errorf("%d requests for 62 MB", n)
	}
}

// No more requests are under way than concurrency says.
func TestConcurrencyBoundsRequests(t *testing.T) {
	t.Parallel()
	server, settings := served(t)
	settings.Concurrency = 3
	var asked atomic.Int32
	release := make(chan struct{})
	server.Hold(func() {
		asked.Add(1)
		<-release
	})
	written := make(chan error, 1)
	d := opened(t, emulator(server.Addr), settings)
	go func() {
		_, err := d.Write(t.Context(), batch(40, 40))
		written <- err
	}()
	for deadline := time.Now().Add(time.Minute); asked.Load() < 3 && time.Now().Before(deadline); {
		runtime.Gosched()
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("%d requests at once, want 3", n)
	}
	for n := int32(3); n < 40; n++ { // whenever one is answered, one more comes
		release <- struct{}{}
		for deadline := time.Now().Add(time.Minute); asked.Load() <= n && time.Now().Before(deadline); {
			runtime.Gosched()
		}
		if got := asked.Load(); got != n+1 {
			t.Fatalf("%d requests were begun when %d were answered", got, n-2)
		}
	}
	close(release)
	if err := <-written; err != nil {
		t.Fatal(err)
	}
}

// Topics by template: what a name can't have is percent-encoded, what can't be a name rejects the record.
func TestTopicByTemplate(t *testing.T) {
	t.Parallel()
	server := pubsubtest.New(t, pubsubtest.Options{Returned: returned})
	for _, name := range []string{"t-i-orders", "t-i-line%20items", "t-i-gr%C3%B6%C3%9Fe"} {
		server.CreateTopic(t, path(name), nil)
	}
	for _, unordered := range []bool{true, false} {
		settings := Settings{Project: project, Topic: "t-{integration}-{stream}", Unordered: unordered, Concurrency: 1}
		b := batch(5, 1)
		b.Records[1].Stream, b.Records[2].Stream, b.Records[3].Stream = "line items", "größe", strings.Repeat("long", 80)
		r, err := opened(t, emulator(server.Addr), settings).Write(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		if want := []connectors.Outcome{connectors.Durable, connectors.Durable, connectors.Durable, connectors.Rejected, connectors.Durable}; !slices.Equal(r.Outcomes, want) {
			t.Fatalf("got %v, want %v", r.Outcomes, want)
		}
	}
	got := make(map[string]int)
	for _, m := range server.Messages() {
		got[m.Topic+" "+m.Attributes["stream"]]++
	}
	want := map[string]int{path("t-i-orders") + " orders": 4, path("t-i-line%20items") + " line items": 2, path("t-i-gr%C3%B6%C3%9Fe") + " größe": 2}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("published %v, want %v", got, want)
	}
}

func TestCheck(t *testing.T) {
	t.Parallel()
	server, _ := served(t)
	for topic, rights := range map[string][]string{
		"closed": {pubsubtest.Publish, pubsubtest.Get}, "to look at": {pubsubtest.Publish}, "unseen": {pubsubtest.Get},
	} {
		server.CreateTopic(t, path(encode(topic)), nil)
		server.Deny(path(encode(topic)), rights...)
	}
	bare := pubsubtest.New(t, pubsubtest.Options{Emulator: true, Returned: returned})
	bare.CreateTopic(t, path("changes"), nil)
	for topic, schema := range map[string]*pubsubpb.SchemaSettings{
		"json":    {Schema: "projects/acme-data/schemas/order", Encoding: pubsubpb.Encoding_JSON},
		"binary":  {Schema: "projects/acme-data/schemas/order", Encoding: pubsubpb.Encoding_BINARY},
		"deleted": {Schema: "_deleted-schema_", Encoding: pubsubpb.Encoding_JSON},
	} {
		server.CreateTopic(t, path(topic), nil)
		server.SetSchema(path(topic), schema)
	}
	refused := make(map[string]string)
	for _, reason := range []string{"SERVICE_DISABLED", "BILLING_DISABLED", "CONSUMER_INVALID", "CONSUMER_SUSPENDED", "SOMETHING_NEW"} {
		other, _ := served(t)
		other.RefuseProject(reason)
		refused[reason] = other.Addr
	}
	for name, c := range map[string]struct {
		addr, topic string
		kind        connectors.Kind // "": it works
		says        string
	}{
		"works":                 {server.Addr, "changes", "", ""},
		"no topic":              {server.Addr, "nowhere", connectors.NotFound, "gcloud pubsub topics create nowhere --project=acme-data"},
		"no right":              {server.Addr, "closed", connectors.Forbidden, "--role=roles/pubsub.publisher"},
		"no right but to look":  {server.Addr, "to%20look%20at", connectors.Forbidden, "--role=roles/pubsub.publisher"},
		"may not look":          {server.Addr, "unseen", "", ""},
		"by template":           {server.Addr, "{stream}", "", ""},
		"schema":                {server.Addr, "json", "", ""},
		"binary schema":         {server.Addr, "binary", connectors.Invalid, "gcloud pubsub topics update binary --project=acme-data --message-encoding=json"},
		"deleted schema":        {server.Addr, "deleted", connectors.Invalid, "--clear-schema-settings"},
		"not enabled":           {refused["SERVICE_DISABLED"], "changes", connectors.Forbidden, "gcloud services enable pubsub.googleapis.com --project=acme-data"},
		"not enabled, template": {refused["SERVICE_DISABLED"], "{stream}", connectors.Forbidden, "gcloud services enable"},
		"no billing":            {refused["BILLING_DISABLED"], "{stream}", connectors.Forbidden, "billing"},
		"no project":            {refused["CONSUMER_INVALID"], "{stream}", connectors.Forbidden, "no project acme-data"},
		"suspended":             {refused["CONSUMER_SUSPENDED"], "{stream}", connectors.Forbidden, "suspended"},
		"reason of nobody's":    {refused["SOMETHING_NEW"], "changes", connectors.Forbidden, "--role=roles/pubsub.publisher"},
		"emulator":              {bare.Addr, "changes", "", ""},
		"emulator, no topic":    {bare.Addr, "nowhere", connectors.NotFound, "topics create"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := opened(t, emulator(c.addr), Settings{Project: project, Topic: c.topic}).(connectors.Checker).Check(t.Context())
			if c.kind != "" {
				connectortest.WantError(t, err, c.kind, c.says)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
}

// A service account signs its own tokens: nothing but Pub/Sub is called, also not the token_uri that a user's file has.
func TestServiceAccount(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	server, trust := secured(t, k.public)
	server.CreateTopic(t, path("orders"), nil)
	server.CreateTopic(t, path("closed"), nil)
	server.Deny(path("closed"), pubsubtest.Publish)
	c := config(t, Connection{ServiceAccount: k.json, Endpoint: "https://" + server.Addr}, Settings{}) // project and topic by default
	c.Operator = false
	d, err := definition(trust).OpenDestination(c)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if _, err := d.Write(t.Context(), batch(3, 3)); err != nil {
		t.Fatal(err)
	}
	if got := len(server.Messages()); got != 3 {
		t.Errorf("%d messages, want 3", got)
	}
	b := batch(1, 1)
	b.Records[0].Stream = "closed"
	_, err = d.Write(t.Context(), b)
	connectortest.WantError(t, err, connectors.Forbidden, "serviceAccount:"+email)
}

// The worker's own credentials are used for the operator's connection alone. Not parallel: it sets the environment.
func TestAmbientCredentials(t *testing.T) {
	c := config(t, Connection{Ambient: true}, Settings{Project: project, Topic: "changes"})
	c.Operator = false
	_, err := Definition().OpenDestination(c)
	connectortest.WantError(t, err, connectors.Invalid, "operator's connection")

	cert, trust := certificate(t)
	server := pubsubtest.New(t, pubsubtest.Options{Certificate: cert, Returned: returned, Authorize: func(header string) error {
		if header != "Bearer of-the-machine" {
			return errors.New("another token")
		}
		return nil
	}})
	server.CreateTopic(t, path("changes"), nil)
	answer := http.StatusOK
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(answer)
		fmt.Fprint(w, `{"access_token": "of-the-machine", "token_type": "Bearer", "expires_in": 3600}`)
	}))
	defer tokens.Close()
	file := filepath.Join(t.TempDir(), "key.json")
	text := strings.Replace(newKey(t).json, "http://169.254.169.254/never-called", tokens.URL, 1)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	write := func() error {
		c := config(t, Connection{Ambient: true, Endpoint: "https://" + server.Addr}, Settings{Project: project, Topic: "changes"})
		d, err := definition(trust).OpenDestination(c)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		_, err = d.Write(t.Context(), batch(1, 1))
		return err
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	if err := write(); err != nil {
		t.Error(err)
	}
	answer = http.StatusBadRequest
	connectortest.WantError(t, write(), connectors.Unauthorized)
	answer = http.StatusInternalServerError
	connectortest.WantError(t, write(), connectors.Unavailable)
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "nothing"))
	connectortest.WantError(t, write(), connectors.Unauthorized)
}

// PUBSUB_EMULATOR_HOST, which the client library obeys, must not lead a destination elsewhere. Not parallel: it sets the environment.
func TestEnvironmentLeadsNowhere(t *testing.T) {
	server, settings := served(t)
	t.Setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
	if _, err := opened(t, emulator(server.Addr), settings).Write(context.Background(), batch(1, 1)); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	account := Connection{ServiceAccount: k.json}
	for name, c := range map[string]struct {
		connection any
		settings   any
		says       string
	}{
		"nobody":                 {Connection{}, Settings{}, "service_account is missing"},
		"two":                    {Connection{ServiceAccount: k.json, Ambient: true}, Settings{}, "not both"},
		"user's own credentials": {Connection{ServiceAccount: strings.Replace(k.json, "service_account", "authorized_user", 1)}, Settings{}, "service account"},
		"broken key":             {Connection{ServiceAccount: strings.Replace(k.json, k.canary, "!", 1)}, Settings{}, "private_key"},
		"no JSON":                {Connection{ServiceAccount: k.canary}, Settings{}, "service account"},
		"inside the network":     {Connection{ServiceAccount: k.json, Endpoint: "https://10.0.0.1"}, Settings{}, "inside the network"},
		"in the clear":           {Connection{ServiceAccount: k.json, Endpoint: "http://pubsub.googleapis.com"}, Settings{}, "https"},
		"path":                   {Connection{ServiceAccount: k.json, Endpoint: "https://pubsub.googleapis.com/v1"}, Settings{}, "a scheme and a host alone"},
		"unknown field":          {map[string]string{"password": k.canary}, Settings{}, "service_account"},
		"project":                {account, Settings{Project: "projects/x"}, "project"},
		"topic":                  {account, Settings{Topic: "2"}, "topic"},
		"topic of Google":        {account, Settings{Topic: "google-things"}, "goog"},
		"variable":               {account, Settings{Topic: "{key}"}, "topic"},
		"concurrency":            {account, Settings{Concurrency: 1000}, "concurrency"},
		"messages":               {account, Settings{RequestMax: Max{Messages: 1001}}, "request_max.messages"},
		"bytes":                  {account, Settings{RequestMax: Max{Bytes: -1}}, "request_max.bytes"},
		"unknown setting":        {account, map[string]int{"batch": 1}, "request_max"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, err := Definition().OpenDestination(connectors.Config{Settings: raw(t, c.settings), Connection: raw(t, c.connection), Operator: true})
			if err == nil {
				d.Close()
			}
			connectortest.WantError(t, err, connectors.Invalid, c.says)
			if strings.Contains(fmt.Sprint(err), k.canary) {
				t.Error("the error tells the secret")
			}
		})
	}
	_, err := Definition().OpenDestination(connectors.Config{Connection: raw(t, account), Mode: connectors.ModeUpsert})
	connectortest.WantError(t, err, connectors.Invalid, "mode")
	_, err = Definition().OpenDestination(connectors.Config{Connection: raw(t, account), Layout: "columns"})
	connectortest.WantError(t, err, connectors.Invalid, "layout")
}
