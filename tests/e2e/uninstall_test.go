package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/jackc/pgx/v5"

	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/connectors/shopify"
	"tributary/internal/catalog"
	"tributary/internal/engine"
	"tributary/internal/pgtest"
	"tributary/internal/sandbox"
	"tributary/internal/segment"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// An uninstall ends within its bound whatever is down, says what it left, and what it left is where it says. Nothing is lost: each record
// was delivered, or is in quarantine, or in the segments of the epoch that is named (I4).
func TestUninstallEndsWhateverIsDown(t *testing.T) {
	t.Parallel()
	const (
		hooksLeft   = "webhooks may be left in the app"
		catalogLeft = "the catalog still lists the installation"
		recordsLeft = "20 records for warehouse, in segments of epoch "
	)
	for _, c := range []struct {
		name string
		down func(*leaving) // and up again at the test's end, or by up
		left []string
		// Where the 20 records are in the end.
		delivered, quarantined, sealed bool
	}{
		{"nothing", func(*leaving) {}, nil, true, false, false},
		{"app", (*leaving).appDown, []string{hooksLeft}, true, false, false},
		{"destination", (*leaving).destinationDown, nil, false, true, false},
		{"catalog", (*leaving).catalogDown, []string{catalogLeft, hooksLeft, recordsLeft}, false, false, true},
		{"segment store", (*leaving).storeDown, []string{recordsLeft}, false, false, true},
		{"everything", func(l *leaving) { l.appDown(); l.destinationDown(); l.catalogDown(); l.storeDown() },
			[]string{catalogLeft, hooksLeft, recordsLeft}, false, false, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLeaving(t)
			c.down(l)
			summary, took := l.uninstall()
			if most := leavingTime + 15*time.Second; took > most { // and what a busy machine adds
				t.Errorf("it took %s, of %s at most", took, most)
			}
			if missing := lacking(summary.Left, c.left...); len(missing) > 0 || len(summary.Left) != len(c.left) {
				t.Errorf("left %q, want %q", summary.Left, c.left)
			}
			t.Logf("within %s, left %q, quarantined %v", took.Round(time.Millisecond), summary.Left, summary.Quarantined)
			l.up()
			want := l.sent()
			if c.quarantined != (summary.Quarantined["warehouse"] == 20) {
				t.Errorf("quarantined %v", summary.Quarantined)
			}
			for where, is := range map[string]struct {
				there bool
				got   tally
			}{
				"PostgreSQL": {c.delivered, rowsOf(t, l.dsn, "customers", "_key")},
				"quarantine": {c.quarantined, l.quarantine()},
				"segments":   {c.sealed, l.sealed()},
			} {
				missing, surplus := want.diff(is.got)
				if is.there && missing+surplus != 0 {
					t.Errorf("%s: %d missing, %d too many", where, missing, surplus)
				}
				if !is.there && where != "segments" && len(is.got) != 0 {
					t.Errorf("%s has %d", where, len(is.got))
				}
			}
			// It can be installed again, also where the catalog was never told.
			again := l.s.Install("customers", l.s.User, leavingTiming)
			if again.Epoch == l.in.Epoch {
				t.Error("the same epoch again")
			}
		})
	}
}

var leavingTiming = workflows.Timing{Flush: 3 * time.Second, Closing: 3 * time.Second, Backoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond, Heartbeat: 2 * time.Second}

// leavingTime is what the bounds add up to: the catalog, the app, delivering the rest, quarantine.
var leavingTime = 3*leavingTiming.Closing + leavingTiming.Flush

// leaving is an installation that has received 20 records and delivered none.
type leaving struct {
	t    *testing.T
	s    *stack.Stack
	in   engine.Installed
	shop *sandbox.Shop
	app  *toxiproxy.Proxy
	dsn  string
	to   *toxiproxy.Proxy // to PostgreSQL as destination
	from *toxiproxy.Proxy // to PostgreSQL as catalog
	back func()
}

func newLeaving(t *testing.T) *leaving {
	t.Helper()
	l := &leaving{t: t, dsn: pgtest.Database(t), back: func() {}}
	l.from = connectortest.Proxy(t, hostOf(t, l.dsn))
	directory := through(t, pgtest.Database(t), l.from.Listen)
	l.s = stack.Start(t, func(s *stack.Setup) { s.Catalog = directory })
	l.to = connectortest.Proxy(t, hostOf(t, l.dsn))
	l.shop = sandbox.New(sandbox.Options{})
	server := httptest.NewServer(l.shop)
	t.Cleanup(func() { l.shop.Close(); server.Close() })
	l.app = connectortest.Proxy(t, server.Listener.Addr().String())
	l.s.Connect(vault.User(l.s.User), "shopify", shopify.Connection{Shop: l.shop.Domain(), AccessToken: l.shop.AccessToken(), ClientSecret: l.shop.ClientSecret(),
		AdminURL: "http://" + l.app.Listen})
	l.s.Connect(vault.Operator, "postgres", postgres.Connection{URL: through(t, l.dsn, l.to.Listen)})
	l.s.Define(`
name: customers
source: {connector: shopify, trigger: realtime, streams: [customers]}
destinations:
  - {name: warehouse, connector: postgres, hidden: true, mode: append}
`)
	l.in = l.s.Install("customers", l.s.User, leavingTiming)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := l.s.Update(ctx, l.s.Client, l.in.ID, workflows.PauseUpdate, "", workflows.PauseRequest{}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		l.shop.Create(sandbox.Customers)
	}
	if err := l.shop.Settle(ctx); err != nil {
		t.Fatal(err)
	}
	l.s.Await(l.in.ID, time.Minute, "received", func(st workflows.Status) bool { return st.Received == 20 && st.Lag == 20 })
	return l
}

func (l *leaving) appDown()         { l.app.Stop() }
func (l *leaving) destinationDown() { l.to.Stop() }
func (l *leaving) catalogDown()     { l.from.Stop() }
func (l *leaving) storeDown()       { l.back = away(l.t, l.s) }

// up brings all back.
func (l *leaving) up() {
	l.t.Helper()
	l.back()
	for _, p := range []*toxiproxy.Proxy{l.app, l.to, l.from} {
		if err := p.Start(); err != nil && !errors.Is(err, toxiproxy.ErrProxyAlreadyStarted) {
			l.t.Fatal(err)
		}
	}
}

func (l *leaving) uninstall() (summary workflows.Summary, took time.Duration) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	begun := time.Now()
	if _, err := l.s.Update(ctx, l.s.Client, l.in.ID, workflows.UninstallUpdate, "", struct{}{}); err != nil {
		l.t.Fatal(err)
	}
	if err := l.s.Client.GetWorkflow(ctx, l.in.ID, l.in.RunID).Get(ctx, &summary); err != nil {
		l.t.Fatal(err)
	}
	return summary, time.Since(begun)
}

// sent is what the receiver acknowledged, by the customer's number.
func (l *leaving) sent() tally {
	out := tally{}
	for _, d := range l.shop.Acknowledged() {
		out[thing{fmt.Sprint(d.ID), d.SHA256}]++
	}
	return out
}

// quarantine is what the catalog lists.
func (l *leaving) quarantine() tally {
	l.t.Helper()
	rows, err := l.s.Catalog.Quarantined(context.Background(), catalog.QuarantineFilter{Epoch: l.in.Epoch, Limit: 1000})
	if err != nil {
		l.t.Fatal(err)
	}
	out := tally{}
	for _, row := range rows {
		g, err := l.s.Segments.Load(context.Background(), row.Segment)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, r := range g.Slice(row.Index, row.Index+1) {
			out[thingOf(row.Key, r.Data)]++
		}
	}
	return out
}

// sealed is what the segments of the epoch hold, but for quarantine's own.
func (l *leaving) sealed() tally {
	l.t.Helper()
	out := tally{}
	for o, err := range l.s.Segments.List(context.Background(), l.in.Epoch+"/") {
		if err != nil {
			l.t.Fatal(err)
		}
		if n, err := segment.ParseName(o.Name); err != nil || n.Origin == segment.OriginQuarantine {
			continue
		}
		g, err := l.s.Segments.Load(context.Background(), o.Name)
		if err != nil {
			l.t.Fatal(err)
		}
		for _, r := range g.Records() {
			out[thingOf(r.Key, r.Data)]++
		}
	}
	return out
}

func hostOf(t *testing.T, dsn string) string {
	t.Helper()
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(c.Host, fmt.Sprint(c.Port))
}

// through is the DSN by way of another address.
func through(t *testing.T, dsn, address string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil {
		t.Fatal(err)
	}
	u.Host = address
	return u.String()
}

// lacking says which of the words stand in none of the lines.
func lacking(lines []string, words ...string) (out []string) {
	for _, w := range words {
		if !strings.Contains(strings.Join(lines, "\n"), w) {
			out = append(out, w)
		}
	}
	return out
}
