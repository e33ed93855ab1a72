package e2e

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors/magento"
	"tributary/connectors/magento/magentotest"
	"tributary/internal/vault"
	"tributary/tests/stack"
)

// magentoApp is a shop that sells: orders go from status to status, customers and products are made and changed, and quantities go up and down, also
// to what they were before.
type magentoApp struct {
	*magentotest.Server
	*recording
	changes int
	made    map[string]int64     // how many there are of a stream
	changed map[string]time.Time // by stream and ID
}

var magentoStreams = []string{"orders", "customers", "products"}

func startMagento(t *testing.T, s *stack.Stack, _ bool) app {
	server := magentotest.New(t, nil)
	server.Set(time.Now())
	r, url := record(t, server, "items", func(path string, object gjson.Result) string {
		if source := object.Get("source_code").Str; source != "" {
			return "stock/" + source + "/" + object.Get("sku").Str
		}
		stream, _, _ := strings.Cut(strings.TrimPrefix(path, "/rest/all/V1/"), "/")
		return stream + "/" + cmp.Or(object.Get("entity_id").String(), object.Get("id").String())
	})
	s.Connect(vault.User(s.User), "magento", magento.Connection{
		URL: url, ConsumerKey: magentotest.ConsumerKey, ConsumerSecret: magentotest.ConsumerSecret,
		AccessToken: magentotest.AccessToken, AccessTokenSecret: magentotest.AccessTokenSecret,
	})
	return &magentoApp{Server: server, recording: r, made: map[string]int64{}, changed: map[string]time.Time{}}
}

func (a *magentoApp) ServeHTTP(w http.ResponseWriter, r *http.Request) { a.recording.ServeHTTP(w, r) }

var statuses = []string{"pending", "processing", "holded", "complete", "closed", "canceled"}

// change commits some changes late, as the shop does: with a time before those of others that are there already.
func (a *magentoApp) change(_ context.Context, rng *rand.Rand) {
	a.changes++
	now := time.Now()
	a.Set(now)
	if a.changes%4 == 3 {
		a.SetQuantity(fmt.Sprintf("source_%d", rng.IntN(2)), fmt.Sprintf("SKU %d/ä", rng.IntN(5)), rng.IntN(3))
		return
	}
	stream := magentoStreams[a.changes%4]
	id := a.made[stream] + 1
	if id > 1 && rng.IntN(10) < 6 {
		id = rng.Int64N(a.made[stream]) + 1
	} else {
		a.made[stream] = id
	}
	name := stream + strconv.FormatInt(id, 10)
	at := now.Add(-time.Duration(rng.IntN(3)) * time.Second).Truncate(time.Second)
	if last := a.changed[name]; at.Before(last) {
		at = last
	}
	a.changed[name] = at
	a.Put(stream, id, at, fmt.Sprintf(`"status":%q`, statuses[rng.IntN(len(statuses))]), fmt.Sprintf(`"edition":%d`, a.changes))
}

func (a *magentoApp) quiet(context.Context) error { return nil }
func (a *magentoApp) acked() tally                { return tally{} }

func (a *magentoApp) live() map[string]state {
	a.Set(time.Now()) // its clock moves only so
	out := map[string]state{}
	for _, stream := range append([]string{"stock"}, magentoStreams...) {
		for key, object := range a.Objects(stream) {
			is := state{sum: sha256.Sum256(object)}
			if at, err := time.Parse(time.DateTime, gjson.GetBytes(object, "updated_at").Str); err == nil {
				is.version = at.UnixMicro()
			}
			out[stream+"/"+key] = is
		}
	}
	return out
}
