package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"time"

	"tributary/connectors"
	"tributary/connectors/duckdb"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
	"tributary/connectors/shopify"
	"tributary/internal/sandbox"
	"tributary/internal/vault"
)

const appRecords = 20_000

// app is the stand-in of a vendor, served by this process: what it costs counts for neither side.
type app struct {
	connector, stream string
	page              int // the connector's own for the stream
	calls             int // that a page takes
	records           int
	settings          any
	connection        any
	// budget is what the vendor allows.
	budget connectors.Budget
	close  func()

	mu    sync.Mutex
	first time.Time // request since the last reset
}

// apps start stand-ins that have as many records as told.
var apps = []func(records int) (*app, error){hubspotApp, magentoApp, netsuiteApp, shopifyApp}

func hubspotApp(records int) (*app, error) {
	s := hubspottest.New(hubspottest.Options{})
	for i := range records {
		s.CreateAt("contacts", map[string]string{"firstname": fmt.Sprint("person ", i), "email": fmt.Sprintf("p%d@example.com", i)}, time.Now().Add(time.Duration(i-records)*time.Minute))
	}
	a := &app{connector: "hubspot", stream: "contacts", page: 100, calls: 2, records: records, budget: hubspot.Definition().Budget,
		settings: hubspot.Settings{Deletions: "never"}}
	url := a.serve(s, func() {})
	a.connection = hubspot.Connection{PortalID: hubspottest.PortalID, AccessToken: hubspottest.AccessToken, APIURL: url}
	return a, nil
}

func magentoApp(records int) (*app, error) {
	s := magentotest.Start()
	now := time.Now()
	for i := range records {
		s.Put("orders", int64(i+1), now.Add(time.Duration(i-records)*time.Second))
	}
	a := &app{connector: "magento", stream: "orders", page: 100, records: records, settings: magento.Settings{Overlap: "0s"}}
	clocked := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // requests are signed with a time
		s.Set(time.Now())
		s.ServeHTTP(w, r)
	})
	url := a.serve(clocked, s.Close)
	a.connection = magento.Connection{
		URL: url, ConsumerKey: magentotest.ConsumerKey, ConsumerSecret: magentotest.ConsumerSecret,
		AccessToken: magentotest.AccessToken, AccessTokenSecret: magentotest.AccessTokenSecret,
	}
	return a, nil
}

func netsuiteApp(records int) (*app, error) {
	s, err := netsuitetest.Start()
	if err != nil {
		return nil, err
	}
	s.Set(time.Now().Truncate(time.Second))
	if err := s.FillCustomers(records); err != nil {
		s.Close()
		return nil, err
	}
	off := false
	a := &app{connector: "netsuite", stream: "customer", page: 1000, calls: 1, records: records, settings: netsuite.Settings{Deletions: &off}}
	clocked := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { // requests are signed with a time
		s.Set(time.Now().Truncate(time.Second))
		s.ServeHTTP(w, r)
	})
	url := a.serve(clocked, s.Close)
	a.connection = netsuite.Connection{
		Account: netsuitetest.Account, ConsumerKey: netsuitetest.ConsumerKey, ConsumerSecret: netsuitetest.ConsumerSecret,
		TokenID: netsuitetest.TokenID, TokenSecret: netsuitetest.TokenSecret, URL: url,
	}
	return a, nil
}

func shopifyApp(records int) (*app, error) {
	s := sandbox.New(sandbox.Options{Customers: records})
	a := &app{connector: "shopify", stream: "customers", page: 150, calls: 1, records: records, budget: shopify.Definition().Budget,
		settings: shopify.Settings{Bulk: "never"}}
	url := a.serve(s, s.Close)
	a.connection = shopify.Connection{Shop: s.Domain(), AccessToken: s.AccessToken(), ClientSecret: s.ClientSecret(), AdminURL: url}
	return a, nil
}

// serve serves the app and notes when it is first asked.
func (a *app) serve(h http.Handler, ended func()) (url string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a.mu.Lock()
		if a.first.IsZero() {
			a.first = time.Now()
		}
		a.mu.Unlock()
		h.ServeHTTP(w, r)
	}))
	a.close = func() { server.Close(); ended() }
	return server.URL
}

// asked is when it was first asked since the last call.
func (a *app) asked() time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.first
	a.first = time.Time{}
	return at
}

// allowed is how long the vendor makes all records last at least, at a call a page: those of its first window may come at once.
func (a *app) allowed() time.Duration {
	calls := (a.records + a.page - 1) / a.page
	if a.budget.Calls == 0 || calls <= a.budget.Calls {
		return 0
	}
	return time.Duration(calls-a.budget.Calls) * a.budget.Per / time.Duration(a.budget.Calls)
}

// reads measures reading all of each app's stand-in into DuckDB.
func (b *bench) reads(ctx context.Context) error {
	for _, start := range apps {
		a, err := start(b.scaled(appRecords))
		if err != nil {
			return err
		}
		if err := b.read(ctx, a); err != nil {
			a.close()
			return fmt.Errorf("%s: %w", a.connector, err)
		}
		a.close()
	}
	return nil
}

func (b *bench) read(ctx context.Context, a *app) error {
	name := "read_" + a.connector
	b.say("  %s: %d records", a.connector, a.records)
	byHand, floorCPU, err := b.readFloor(ctx, name, a)
	if err != nil {
		return err
	}
	a.asked()
	took, engine, temporal, err := b.readEngine(ctx, name, a)
	if err != nil {
		return err
	}
	floor, note := byHand, ""
	if least := a.allowed(); least > floor {
		floor, note = least, fmt.Sprintf("beside what the vendor allows at a call a page, of which it takes %d; by hand %.0f", a.calls, float64(a.records)/byHand.Seconds())
	}
	b.add(row{Key: name, Name: fmt.Sprintf("%s, %d records in pages of %d into DuckDB", a.connector, a.records, a.page), Unit: "records/s",
		Floor: float64(a.records) / floor.Seconds(), Engine: float64(a.records) / took.Seconds(), Note: note})
	b.addCost(name+"_cpu", "CPU of "+a.connector+" for 1,000 records", floorCPU, engine, temporal, a.records)
	return nil
}

// readFloor reads and writes with the connectors alone, in a process of its own.
func (b *bench) readFloor(ctx context.Context, name string, a *app) (took time.Duration, cpu float64, err error) {
	dir, err := b.dir(name + "_floor")
	if err != nil {
		return 0, 0, err
	}
	settings, connection, err := a.raw()
	if err != nil {
		return 0, 0, err
	}
	c, err := spawn(task{Role: "reader", Reader: &readerTask{
		Connector: a.connector, Settings: settings, Connection: connection, Stream: a.stream, Path: filepath.Join(dir, "floor.duckdb"),
	}})
	if err != nil {
		return 0, 0, err
	}
	defer c.stop()
	before, err := c.usage(ctx, false)
	if err != nil {
		return 0, 0, err
	}
	var n int
	began := time.Now()
	if err := c.call(ctx, http.MethodPost, "/read", &n); err != nil {
		return 0, 0, err
	}
	took = time.Since(began)
	after, err := c.usage(ctx, false)
	if err == nil && n < a.records { // a connector may read some twice where one way of reading passes into another
		err = fmt.Errorf("the floor read %d records of %d", n, a.records)
	}
	return took, after.CPU - before.CPU, err
}

// readEngine installs and waits until everything is delivered: from the first request to the app on.
func (b *bench) readEngine(ctx context.Context, name string, a *app) (took time.Duration, engine, temporal float64, err error) {
	w, err := b.world(ctx, name, 0)
	if err != nil {
		return 0, 0, 0, err
	}
	closed := false
	defer func() {
		if !closed {
			w.close()
		}
	}()
	settings, connection, err := a.raw()
	if err != nil {
		return 0, 0, 0, err
	}
	if _, err := w.Vault.Put(ctx, vault.User("u0"), a.connector, "default", connection, ""); err != nil {
		return 0, 0, 0, err
	}
	path := filepath.Join(b.folder, name, "engine.duckdb")
	if err := w.define(ctx, fmt.Sprintf(`
name: app
source:
  connector: %s
  settings: %s
  trigger: {kind: polling, interval: 24h}
  streams: [%s]
destinations:
  - name: warehouse
    connector: duckdb
    hidden: true
    settings: {path: %s, table: records}
    mode: upsert
`, a.connector, settings, a.stream, path)); err != nil {
		return 0, 0, 0, err
	}
	stop, err := b.profile(ctx, name, w)
	if err != nil {
		return 0, 0, 0, err
	}
	engineBefore, temporalBefore, err := w.cost(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	installed, err := w.install(ctx, "app", 0, 1)
	if err != nil {
		return 0, 0, 0, err
	}
	err = await(ctx, 1, deliveryTime, func(ctx context.Context) (int64, error) {
		st, err := w.Status(ctx, w.client, installed[0].ID, "")
		if err != nil || len(st.Streams) == 0 || st.Lag > 0 {
			return 0, err
		}
		return st.Streams[0].Polls, nil
	})
	took = time.Since(a.asked())
	if err != nil {
		return 0, 0, 0, w.explain(err)
	}
	if engine, temporal, err = w.cost(ctx); err != nil {
		return 0, 0, 0, err
	}
	if err := stop(); err != nil {
		return 0, 0, 0, err
	}
	w.close() // DuckDB has one process a file
	closed = true
	return took, engine - engineBefore, temporal - temporalBefore, wholeFile(ctx, path, a.records)
}

// wholeFile wants each record once.
func wholeFile(ctx context.Context, path string, want int) error {
	files := duckdb.NewFiles()
	defer files.Close()
	_, rows, err := files.Query(ctx, path, `SELECT count(*), count(DISTINCT _key) FROM records`, 1)
	if err != nil {
		return err
	}
	if got := fmt.Sprint(rows); got != fmt.Sprintf("[[%d %d]]", want, want) {
		return fmt.Errorf("the file has %s rows and keys of %d records", got, want)
	}
	return nil
}

func (a *app) raw() (settings, connection json.RawMessage, err error) {
	if settings, err = json.Marshal(a.settings); err != nil {
		return nil, nil, err
	}
	connection, err = json.Marshal(a.connection)
	return settings, connection, err
}
