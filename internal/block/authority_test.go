package block_test

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/oauth"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/integration"
	"tributary/internal/pgtest"
	"tributary/internal/vault"
)

// secretMark is part of every secret here: no error and no log may hold it.
const secretMark = "canary-5c2b"

// lifetime is that of access tokens; they are due a quarter of it before.
const lifetime = 30 * time.Minute

// authority is a token endpoint that rotates refresh tokens and refuses one that was used before (RFC 6749, section 10.4), but for a leeway
// that some have.
type authority struct {
	*httptest.Server
	clock *clock

	mu      sync.Mutex
	current string // refresh token
	access  string // the newest access token
	expires time.Time
	serial  int
	used    map[string]time.Time
	leeway  time.Duration
	secret  string // the client's; "" = none is asked for
	status  int    // of every answer, where it is not 0
	// Counts of what was asked.
	exchanges, refused int
	// rotated, when set, is called between the rotation and the answer.
	rotated func()
}

// clock is a clock that tests put forward.
type clock struct{ us atomic.Int64 }

func (c *clock) Now() time.Time          { return time.UnixMicro(c.us.Load()) }
func (c *clock) advance(d time.Duration) { c.us.Add(d.Microseconds()) }

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{clock: &clock{}, used: make(map[string]time.Time)}
	a.clock.us.Store(time.Now().UnixMicro())
	a.issue()
	a.Server = httptest.NewServer(http.HandlerFunc(a.token))
	t.Cleanup(a.Close)
	return a
}

// issue makes new tokens. It is called with mu held.
func (a *authority) issue() {
	a.serial++
	a.current, a.access = fmt.Sprintf("%s-refresh-%d", secretMark, a.serial), fmt.Sprintf("%s-access-%d", secretMark, a.serial)
	a.expires = a.clock.Now().Add(lifetime)
}

func (a *authority) token(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code string) {
		a.refused++
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"error":%q,"error_description":%q}`, code, r.PostForm.Encode())
	}
	_ = r.ParseForm()
	a.mu.Lock()
	sent := r.PostForm.Get("refresh_token")
	at, used := a.used[sent]
	switch {
	case a.status != 0:
		refuse(a.status, "")
	case r.PostForm.Get("grant_type") != "refresh_token":
		refuse(http.StatusBadRequest, "unsupported_grant_type")
	case a.secret != "" && r.PostForm.Get("client_secret") != a.secret:
		refuse(http.StatusUnauthorized, "invalid_client")
	case sent == a.current, used && a.clock.Now().Sub(at) < a.leeway:
		a.used[a.current] = a.clock.Now()
		a.issue()
		a.exchanges++
		answer := fmt.Sprintf(`{"access_token":%q,"refresh_token":%q,"expires_in":%d}`, a.access, a.current, int(lifetime.Seconds()))
		rotated := a.rotated
		a.mu.Unlock()
		if rotated != nil {
			rotated()
		}
		io.WriteString(w, answer)
		return
	default:
		refuse(http.StatusBadRequest, "invalid_grant")
	}
	a.mu.Unlock()
}

// set changes it under its lock.
func (a *authority) set(change func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	change()
}

func (a *authority) counts() (exchanges, refused int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.exchanges, a.refused
}

// accepts says whether an access token works now.
func (a *authority) accepts(token string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return token == a.access && a.clock.Now().Before(a.expires)
}

// account is the connection of the test's connector, as it stands now.
type account struct {
	AccessToken  string    `json:"access_token" jsonschema:"format=password"`
	RefreshToken string    `json:"refresh_token" jsonschema:"format=password"`
	ExpiresAt    time.Time `json:"expires_at"`
	RenewAt      time.Time `json:"renew_at"`
}

func (a *authority) account() account {
	a.mu.Lock()
	defer a.mu.Unlock()
	return account{a.access, a.current, a.expires, a.expires.Add(-lifetime / 4)}
}

// appKeys are the credentials of its app.
type appKeys struct {
	ClientID     string `json:"client_id"`
	ClientSecret string `json:"client_secret" jsonschema:"format=password"`
}

// crm is a source and a destination.
type crm struct {
	*sink
	cfg connectors.Config
}

func (c *crm) Receive(context.Context, connectors.Delivery) (connectors.Received, error) {
	return connectors.Received{}, nil
}

func (c *crm) Check(context.Context) error { return nil }

func accessOf(raw json.RawMessage) string {
	a, _ := connectors.Decode[account](raw)
	return a.AccessToken
}

// definition describes a connector whose connections are renewed at url.
func definition(url string, transport http.RoundTripper) connectors.Definition {
	at := func(raw json.RawMessage, pick func(account) time.Time) time.Time {
		a, err := connectors.Decode[account](raw)
		if err != nil {
			return time.Time{}
		}
		return pick(a)
	}
	return connectors.Definition{
		Name: "crm", Connection: account{}, App: appKeys{}, AppWide: true, Receives: true, AnyStream: true,
		Modes:      []connectors.Mode{connectors.ModeUpsert},
		OpenSource: func(cfg connectors.Config) (any, error) { return &crm{cfg: cfg}, nil },
		OpenDestination: func(cfg connectors.Config) (connectors.Destination, error) {
			return &sink{cfg: cfg, write: func() error { return nil }}, nil
		},
		Renewal: &connectors.Renewal{
			Due:     func(raw json.RawMessage) time.Time { return at(raw, func(a account) time.Time { return a.RenewAt }) },
			Expires: func(raw json.RawMessage) time.Time { return at(raw, func(a account) time.Time { return a.ExpiresAt }) },
			Renew: func(ctx context.Context, cfg connectors.Config) (json.RawMessage, error) {
				a, err := connectors.Decode[account](cfg.Connection)
				if err != nil {
					return nil, err
				}
				app, err := connectors.Decode[appKeys](cfg.App)
				if err != nil {
					return nil, err
				}
				t, err := oauth.Refresh(ctx, oauth.Request{
					URL: url, ClientID: app.ClientID, ClientSecret: app.ClientSecret, RefreshToken: a.RefreshToken, Transport: transport, Now: cfg.Env.Now,
				})
				if err != nil {
					return nil, err
				}
				return json.Marshal(account{t.AccessToken, t.RefreshToken, t.ExpiresAt, t.RenewAt})
			},
		},
	}
}

// town is a catalog with a vault, and an authority that the connections in it are renewed at.
type town struct {
	*authority
	dsn, keyFile string
	catalog      *catalog.Catalog
	vault        *vault.Vault
	revision     int
	log          lockedBuffer
	// change, when set, changes the connector before a worker gets it.
	change func(*connectors.Definition)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// onBoth runs a test on SQLite and on PostgreSQL.
func onBoth(t *testing.T, test func(t *testing.T, v *town)) {
	t.Parallel()
	for kind, dsn := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return filepath.Join(t.TempDir(), "catalog.db") },
		"postgres": func(t *testing.T) string { return pgtest.Database(t) },
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			test(t, newTown(t, dsn(t)))
		})
	}
}

func newTown(t *testing.T, dsn string) *town {
	t.Helper()
	v := &town{authority: newAuthority(t), dsn: dsn, keyFile: filepath.Join(t.TempDir(), "key.json")}
	must(t, vault.GenerateKeyFile(v.keyFile))
	t.Cleanup(func() {
		if strings.Contains(v.log.String(), secretMark) {
			t.Errorf("the log shows a secret:\n%s", v.log.String())
		}
	})
	v.catalog, v.vault = v.open(t)
	var err error
	v.revision, err = v.catalog.SaveIntegration(t.Context(), integration.Spec{
		Name: "flow", Source: integration.Source{Connector: "crm", Streams: []string{"contacts"}, Trigger: integration.Trigger{Kind: integration.Realtime}},
		Destinations: []integration.Destination{{Name: "out", Connector: "crm"}},
	})
	must(t, err)
	v.store(t, v.account())
	return v
}

func (v *town) open(t *testing.T) (*catalog.Catalog, *vault.Vault) {
	t.Helper()
	c, err := catalog.Open(t.Context(), v.dsn)
	must(t, err)
	t.Cleanup(func() { must(t, c.Close()) })
	keys, err := vault.Open(c, v.keyFile)
	must(t, err)
	return c, keys
}

// worker is an Opener with a catalog, a vault and connections of its own, as another process has them.
func (v *town) worker(t *testing.T) *block.Opener {
	t.Helper()
	transport := &http.Transport{}
	def := definition(v.URL, transport)
	if v.change != nil {
		v.change(&def)
	}
	reg, err := connectors.NewRegistry(def)
	must(t, err)
	c, keys := v.open(t)
	o := block.New(reg, c, keys, connectors.Env{Log: slog.New(slog.NewTextHandler(&v.log, nil)), Now: v.clock.Now})
	t.Cleanup(transport.CloseIdleConnections)
	t.Cleanup(o.Close)
	return o
}

func (v *town) workers(t *testing.T, n int) []*block.Opener {
	t.Helper()
	all := make([]*block.Opener, n)
	for i := range all {
		all[i] = v.worker(t)
	}
	return all
}

// store has ada connect an account.
func (v *town) store(t *testing.T, a account) {
	t.Helper()
	raw, err := json.Marshal(a)
	must(t, err)
	_, err = v.vault.Put(context.WithoutCancel(t.Context()), vault.User("ada"), "crm", "default", raw, "account-1")
	must(t, err)
}

// storeApp has the operator store the app's secret.
func (v *town) storeApp(t *testing.T, secret string) {
	t.Helper()
	_, err := v.vault.Put(t.Context(), vault.App, "crm", "default", json.RawMessage(`{"client_id":"id","client_secret":"`+secret+`"}`), "")
	must(t, err)
}

// stored is ada's account as the vault has it.
func (v *town) stored(t *testing.T) (account, vault.Connection) {
	t.Helper()
	conn, err := v.vault.Get(context.WithoutCancel(t.Context()), vault.User("ada"), "crm", "default")
	must(t, err)
	a, err := connectors.Decode[account](conn.Secret)
	must(t, err)
	return a, conn
}

// use opens ada's source and returns the access token that it was opened with.
func (v *town) use(ctx context.Context, o *block.Opener) (string, error) {
	s, err := o.Source(ctx, "flow", v.revision, "ada")
	if err != nil {
		if text := fmt.Sprintf("%v %+v", err, err); strings.Contains(text, secretMark) {
			err = fmt.Errorf("the error shows a secret")
		}
		return "", err
	}
	return accessOf(s.Value.(*crm).cfg.Connection), nil
}

// eventually waits for something that happens in the background.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !happened(); {
		if time.Now().After(end) {
			t.Fatalf("in vain waited for this: %s", cmp.Or(what, "?"))
		}
		time.Sleep(5 * time.Millisecond)
	}
}
