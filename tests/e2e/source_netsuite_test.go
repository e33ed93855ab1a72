package e2e

import (
	"cmp"
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors/netsuite"
	"tributary/connectors/netsuite/netsuitetest"
	"tributary/internal/vault"
	"tributary/tests/stack"
)

type netsuiteApp struct {
	*netsuitetest.Server
	*recording
	t       *testing.T
	last    int64
	changed map[int64]time.Time
}

func startNetsuite(t *testing.T, s *stack.Stack, _ bool) app {
	server := netsuitetest.New(t, nil)
	server.Set(time.Now())
	r, url := record(t, server, "items", func(_ string, object gjson.Result) string {
		return "customer/" + cmp.Or(object.Get("id").Str, object.Get("recordid").Str)
	})
	s.Connect(vault.User(s.User), "netsuite", netsuite.Connection{
		Account: netsuitetest.Account, ConsumerKey: netsuitetest.ConsumerKey, ConsumerSecret: netsuitetest.ConsumerSecret,
		TokenID: netsuitetest.TokenID, TokenSecret: netsuitetest.TokenSecret, URL: url,
	})
	return &netsuiteApp{Server: server, recording: r, t: t, changed: map[int64]time.Time{}}
}

func (a *netsuiteApp) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.recording.ServeHTTP(w, r) }

// change changes or deletes only what did not change within the second: NetSuite's times are no finer.
func (a *netsuiteApp) change(_ context.Context, rng *rand.Rand) {
	now := time.Now().Truncate(time.Second)
	a.Set(now)
	if a.last > 0 && rng.IntN(10) < 5 {
		id := rng.Int64N(a.last) + 1
		at, there := a.changed[id]
		switch {
		case !there || !at.Before(now):
		case rng.IntN(5) == 0:
			delete(a.changed, id)
			a.Delete(a.t, "customer", id, "Customer", now)
			return
		default:
			a.changed[id] = now
			a.Put(a.t, "customer", id, now)
			return
		}
	}
	a.last++
	a.changed[a.last] = now
	a.Put(a.t, "customer", a.last, now)
}

func (a *netsuiteApp) quiet(context.Context) error { return nil }
func (a *netsuiteApp) acked() tally                { return tally{} }

func (a *netsuiteApp) live() map[string]state {
	a.Set(time.Now()) // its clock moves only so
	out := map[string]state{}
	for id, at := range a.changed {
		out["customer/"+strconv.FormatInt(id, 10)] = state{version: at.UnixMicro()}
	}
	return out
}
