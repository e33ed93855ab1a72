package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/converter"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"tributary/connectors"
	"tributary/connectors/datastream"
	"tributary/connectors/postgres"
	"tributary/connectors/shopify"
	"tributary/connectors/webhook"
	"tributary/internal/catalog"
	"tributary/internal/pgtest"
	"tributary/internal/sandbox"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// No secret and no payload shows anywhere that an operator or a sender looks (I7): in histories with all that is encoded in
// them, memos, search attributes, the page in the Temporal UI, status, logs down to debug, metrics, the reasons in quarantine, answers to
// senders. Secrets are not in the files of catalog, journal and segments either. On the way everything goes wrong that makes others
// quote what they were given: databases, endpoints, jq, Go's own errors.
func TestSecretsAndPayloadsStayPrivate(t *testing.T) {
	t.Parallel()
	p := newPrivacy(t)
	p.hooks()
	p.polls()
	p.look()
}

// canary is a text that must not be seen.
func canary(what string) string { return "canary-" + what + "-" + rand.Text() }

type privacy struct {
	t       *testing.T
	s       *stack.Stack
	timing  workflows.Timing
	secrets map[string]string
	payload string
	seen    bytes.Buffer // all that anybody may look at
	ids     []string
}

func newPrivacy(t *testing.T) *privacy {
	p := &privacy{t: t, payload: canary("payload"), secrets: map[string]string{},
		timing: workflows.Timing{Events: 60, Backoff: 50 * time.Millisecond, MaxBackoff: 300 * time.Millisecond, Flush: 2 * time.Second, Closing: 2 * time.Second}}
	p.s = stack.Start(t, func(s *stack.Setup) { s.LogLevel = slog.LevelDebug })
	key, err := os.ReadFile(p.s.Config.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	var keyset struct {
		Key []struct {
			KeyData struct{ Value string } `json:"keyData"`
		} `json:"key"`
	}
	if err := json.Unmarshal(key, &keyset); err != nil || len(keyset.Key) == 0 || len(keyset.Key[0].KeyData.Value) < 20 {
		t.Fatalf("the key file has another form: %v", err)
	}
	p.secrets["key file"] = keyset.Key[0].KeyData.Value
	return p
}

// hooks has webhooks go to places that quote what they refuse.
func (p *privacy) hooks() {
	t, s, ctx := p.t, p.s, context.Background()
	secret := canary("webhook")
	p.secrets["webhook secret"] = secret
	s.Connect(vault.User(s.User), "webhook", webhook.Connection{Secret: secret})

	server := pgtest.StartServer(t)
	dsn, password, wrong := server.Database(t), canary("password"), canary("wrong")
	p.secrets["password"], p.secrets["wrong password"] = password, wrong
	admin, err := pgx.Connect(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(ctx)
	if _, err := admin.Exec(ctx, `CREATE ROLE streamer LOGIN PASSWORD '`+password+`'; GRANT ALL ON SCHEMA public TO streamer`); err != nil {
		t.Fatal(err)
	}
	as := func(password string) postgres.Connection {
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword("streamer", password)
		return postgres.Connection{URL: u.String()}
	}
	s.Connect(vault.Operator, "postgres", as(password))

	raw, err := datastream.GenerateConnection()
	if err != nil {
		t.Fatal(err)
	}
	signing, err := connectors.Decode[datastream.Connection](raw)
	if err != nil {
		t.Fatal(err)
	}
	p.secrets["signing secret"] = strings.TrimPrefix(signing.Secrets[0], "whsec_")
	p.secrets["signing key"] = strings.Split(signing.SigningKeys[0].PrivateKey, "\n")[3]
	s.Connect(vault.Operator, "datastream", raw)
	var status atomic.Int32
	var endpoint bytes.Buffer
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Echo", strings.ReplaceAll(string(body), "\n", " "))
		w.Header().Set("Location", "/"+url.PathEscape(string(body)))
		if n := int(status.Load()); n != 0 {
			w.WriteHeader(n)
		} else {
			endpoint.Write(body) // one POST at once
		}
		_, _ = w.Write(body)
	}))
	t.Cleanup(echo.Close)

	s.Define(fmt.Sprintf(`
name: hooks
source:
  connector: webhook
  settings: {preset: github, key: {body: .key}}
  trigger: realtime
  streams: [orders]
destinations:
  - {name: warehouse, connector: postgres, hidden: true, mode: append}
  - {name: company, connector: datastream, hidden: true, settings: {url: %q, concurrency: 1}}
  - {name: numbers, connector: duckdb, hidden: true, map: '{n: (.secret | tonumber)}', settings: {path: numbers.duckdb}}
`, echo.URL))
	in := s.Install("hooks", s.User, p.timing)
	p.ids = append(p.ids, in.ID)
	p.secrets["webhook URL"] = path.Base(in.HookURL)
	n := 0
	deliver := func(body string, signature string, want int) {
		t.Helper()
		n++
		if signature == "" {
			signature = sign(secret, []byte(body))
		}
		got, answer, err := postSigned(ctx, in.HookURL, fmt.Sprintf("delivery-%d", n), "orders", []byte(body), signature)
		if err != nil || got != want {
			t.Fatalf("delivery %d: %d %s %v, want %d", n, got, answer, err, want)
		}
		p.seen.WriteString(answer)
	}
	body := func(n int) string { return fmt.Sprintf(`{"key":"k%d","n":%d,"secret":%q}`, n, n, p.payload) }

	deliver(body(1), "", http.StatusOK)
	s.Await(in.ID, time.Minute, "delivery", func(st workflows.Status) bool { return st.Received == 1 && st.Lag == 0 })
	if _, err := admin.Exec(ctx, `ALTER TABLE orders ADD CONSTRAINT refused CHECK (data->>'n' <> '2')`); err != nil {
		t.Fatal(err)
	}
	status.Store(http.StatusUnprocessableEntity)
	deliver(body(2), "", http.StatusOK) // refused by all three, each in its own words
	s.Await(in.ID, time.Minute, "refusal", func(st workflows.Status) bool { return st.Received == 2 && st.Lag == 0 })
	for _, code := range []int{http.StatusInternalServerError, http.StatusFound, http.StatusForbidden} {
		status.Store(int32(code))
		deliver(body(3), "", http.StatusOK)
		s.Await(in.ID, time.Minute, "failure", func(st workflows.Status) bool { return st.Lanes[1].Failures > 0 })
		status.Store(0)
		p.ask(in.ID, workflows.ResumeUpdate, workflows.ResumeRequest{})
		s.Await(in.ID, time.Minute, "delivery", func(st workflows.Status) bool { return st.Lag == 0 })
	}
	deliver(body(4), sign(canary("other"), []byte(body(4))), http.StatusUnauthorized)
	deliver(body(4)[:30]+p.payload, "", http.StatusBadRequest)

	s.Connect(vault.Operator, "postgres", as(wrong))
	deliver(body(5), "", http.StatusOK)
	s.Await(in.ID, time.Minute, "refused password", func(st workflows.Status) bool { return st.Health == workflows.NeedsAuth })
	p.status(in.ID)
	s.Connect(vault.Operator, "postgres", as(password))
	p.ask(in.ID, workflows.ResumeUpdate, workflows.ResumeRequest{})
	p.ask(in.ID, workflows.RedeliverUpdate, workflows.RedeliverRequest{Lane: "numbers"})
	s.Await(in.ID, time.Minute, "all", func(st workflows.Status) bool { return st.Lag == 0 && st.Health == workflows.Healthy })

	// The test looks for something that was really there.
	if n := count(t, dsn, `SELECT count(*) FROM orders WHERE data->>'secret' = $1`, p.payload); n < 3 {
		t.Errorf("the payload is in %d rows", n)
	}
	if !bytes.Contains(endpoint.Bytes(), []byte(p.payload)) {
		t.Error("the payload did not reach the endpoint")
	}
}

// polls has an app fail in every way and be closed while it is polled.
func (p *privacy) polls() {
	t, s := p.t, p.s
	token, secret := canary("token"), canary("client-secret")
	p.secrets["access token"], p.secrets["client secret"] = token, secret
	sh := sandbox.New(sandbox.Options{Products: 300, AccessToken: token, ClientSecret: secret})
	server := httptest.NewServer(sh)
	t.Cleanup(func() { sh.Close(); server.Close() })
	s.Connect(vault.User(s.User), "shopify", shopify.Connection{Shop: sh.Domain(), AccessToken: token, ClientSecret: secret, AdminURL: server.URL})
	s.Define(`
name: products
source:
  connector: shopify
  settings: {page_size: 20}
  trigger: {kind: both, interval: 1s}
  streams: [products]
destinations:
  - {name: warehouse, connector: duckdb, hidden: true, settings: {path: products.duckdb}}
`)
	in := s.Install("products", s.User, p.timing)
	p.ids = append(p.ids, in.ID)
	sh.SetFaults(sandbox.Faults{ServerError: 0.3, Throttle: 0.2, Truncate: 0.3})
	s.Await(in.ID, time.Minute, "failures", func(st workflows.Status) bool { return st.Streams[0].Failure != nil })
	sh.SetFaults(sandbox.Faults{})
	s.Await(in.ID, time.Minute, "products", func(st workflows.Status) bool { return st.Streams[0].Records >= 300 && st.Lag == 0 })
	server.Close()
	s.Await(in.ID, time.Minute, "a closed app", func(st workflows.Status) bool { return st.Streams[0].Failure != nil })
	p.status(in.ID)
	p.ask(in.ID, workflows.UninstallUpdate, struct{}{})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var summary workflows.Summary
	if err := s.Client.GetWorkflow(ctx, in.ID, "").Get(ctx, &summary); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(&p.seen, "%+v\n", summary)
}

func (p *privacy) ask(id, name string, arg any) {
	p.t.Helper()
	accepted, err := p.s.Update(context.Background(), p.s.Client, id, name, "", arg)
	if err != nil {
		p.t.Fatalf("%s: %v", name, err)
	}
	fmt.Fprintf(&p.seen, "%+v\n", accepted)
}

func (p *privacy) status(id string) {
	p.t.Helper()
	st, err := p.s.Status(context.Background(), p.s.Client, id, "")
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := json.Marshal(st)
	if err != nil {
		p.t.Fatal(err)
	}
	p.seen.Write(raw)
}

// look gathers all that can be seen and searches it.
func (p *privacy) look() {
	t, s := p.t, p.s
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, id := range p.ids {
		p.status(id)
		p.histories(ctx, id)
		rows, err := s.Catalog.Quarantined(ctx, catalog.QuarantineFilter{Installation: id, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			fmt.Fprintf(&p.seen, "%+v\n", row)
		}
	}
	for _, page := range []string{"/metrics", "/readyz", "/healthz"} {
		res, err := http.Get(s.Receiver.OpsURL + page)
		if err != nil {
			t.Fatal(err)
		}
		_, err = io.Copy(&p.seen, res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	p.seen.WriteString(s.Logs())
	seen := p.seen.String()
	for _, known := range []string{"hooks/" + s.User, "tributary_receiver_accepted_requests_total", "TributaryHealth", "the endpoint answered 422", "level=DEBUG", `"refused"`, "**"} {
		if !strings.Contains(seen, known) {
			t.Errorf("what can be seen lacks %q: the test looks in the wrong place", known)
		}
	}
	for what, secret := range p.secrets {
		reveals(t, what, secret, seen, "what can be seen")
	}
	reveals(t, "payload", p.payload, seen, "what can be seen")

	err := filepath.WalkDir(s.Config.Dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || name == s.Config.KeyFile {
			return err
		}
		raw, err := os.ReadFile(name)
		for what, secret := range p.secrets {
			reveals(t, what, secret, string(raw), filepath.Base(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var encoded = regexp.MustCompile(`"data":\s*"([A-Za-z0-9+/=]+)"`)

// histories gathers all runs of an installation, from the last one back, with what Temporal's UI shows of it.
func (p *privacy) histories(ctx context.Context, id string) {
	t, c := p.t, p.s.Client
	t.Helper()
	write := func(m proto.Message) {
		raw, err := protojson.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		p.seen.Write(raw)
		for _, data := range encoded.FindAllSubmatch(raw, -1) {
			plain, err := base64.StdEncoding.DecodeString(string(data[1]))
			if err != nil {
				t.Fatal(err)
			}
			p.seen.Write(plain)
			p.seen.WriteByte('\n')
		}
	}
	d, err := c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		t.Fatal(err)
	}
	write(d)
	for _, query := range []string{"__temporal_workflow_metadata", "__stack_trace"} {
		v, err := c.QueryWorkflow(ctx, id, "", query)
		if err != nil {
			t.Fatal(err)
		}
		var answer converter.RawValue
		if err := v.Get(&answer); err != nil {
			t.Fatal(err)
		}
		p.seen.Write(answer.Payload().Data)
	}
	runs := 0
	for run := d.WorkflowExecutionInfo.Execution.RunId; run != ""; runs++ {
		before := ""
		it := c.GetWorkflowHistory(ctx, id, run, false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
		for it.HasNext() {
			e, err := it.Next()
			if err != nil {
				t.Fatal(err)
			}
			write(e)
			if started := e.GetWorkflowExecutionStartedEventAttributes(); started != nil {
				before = started.ContinuedExecutionRunId
			}
		}
		run = before
	}
	if runs < 2 {
		t.Errorf("%s had %d runs: what is carried over was not seen", id, runs)
	}
}

// reveals fails the test where the text has the secret, as it is or in a usual encoding.
func reveals(t *testing.T, what, secret, text, where string) {
	t.Helper()
	forms := map[string]string{"as it is": secret, "in hex": hex.EncodeToString([]byte(secret)), "in a URL": url.QueryEscape(secret)}
	for shift := range 3 { // how base64 looks depends on what stands before
		form := base64.RawStdEncoding.EncodeToString([]byte(strings.Repeat("x", shift) + secret))
		forms[fmt.Sprintf("in base64, %d", shift)] = form[shift+1 : len(form)-2]
	}
	for how, form := range forms {
		if at := strings.Index(text, form); at >= 0 {
			t.Errorf("%s shows the %s %s: ...%s...", where, what, how, text[max(0, at-200):min(len(text), at+len(form)+50)])
		}
	}
}
