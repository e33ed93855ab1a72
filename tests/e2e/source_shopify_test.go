package e2e

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"tributary/internal/sandbox"
	"tributary/internal/vault"
	"tributary/tests/stack"
)

// shopifyApp is a shop whose customers and products change.
type shopifyApp struct {
	*sandbox.Shop
	hooks   bool
	changes int
}

func startShopify(t *testing.T, s *stack.Stack, hooks bool) app {
	return connectShop(t, s, sandbox.Options{}, hooks)
}

// startBulkShopify has so many objects, and so slow an operation, that a kill falls into the first read.
func startBulkShopify(t *testing.T, s *stack.Stack, hooks bool) app {
	return connectShop(t, s, sandbox.Options{Customers: 2000, Products: 300, BulkTime: 3 * time.Second}, hooks)
}

func connectShop(t *testing.T, s *stack.Stack, o sandbox.Options, hooks bool) app {
	o.Retries = slices.Repeat([]time.Duration{50 * time.Millisecond}, 5000)
	sh, conn := shop(t, o)
	s.Connect(vault.User(s.User), "shopify", conn)
	return &shopifyApp{Shop: sh, hooks: hooks}
}

var shopStreams = []sandbox.Stream{sandbox.Customers, sandbox.Products}

// change deletes only where webhooks tell of it: Shopify shows nowhere what is gone.
func (a *shopifyApp) change(_ context.Context, rng *rand.Rand) {
	a.changes++
	stream := shopStreams[a.changes%len(shopStreams)]
	ids := a.IDs(stream)
	switch n := a.changes / len(shopStreams) % 8; { // only this changes objects, so what is changed is there
	case n < 4 || len(ids) == 0:
		a.Create(stream)
	case n == 7 && a.hooks:
		_ = a.Delete(stream, ids[rng.IntN(len(ids))])
	default:
		_ = a.Update(stream, ids[rng.IntN(len(ids))])
	}
}

func (a *shopifyApp) quiet(ctx context.Context) error { return a.Settle(ctx) }

func shopName(stream sandbox.Stream, id int64) string {
	return string(stream) + "/" + sandbox.Key(stream, id)
}

func (a *shopifyApp) acked() tally {
	out := tally{}
	for _, d := range a.Acknowledged() {
		out[thing{shopName(d.Stream, d.ID), d.SHA256}]++
	}
	return out
}

func (a *shopifyApp) served() tally {
	out := tally{}
	for _, node := range a.Served() {
		out[thing{shopName(node.Stream, node.ID), node.SHA256}] = 1
	}
	for _, file := range a.Files() {
		out.with(ofBulk(file))
	}
	return out
}

// ofBulk are the objects of a file of a bulk operation: a line each, with the lines of a product's variants behind it where a page has the variants.
func ofBulk(file []byte) tally {
	out := tally{}
	var of string
	var parent []byte
	var children [][]byte
	end := func() {
		name, _, ok := strings.Cut(strings.TrimPrefix(of, "gid://shopify/"), "/")
		_, id, _ := strings.Cut(strings.TrimPrefix(of, "gid://shopify/"), "/")
		switch {
		case !ok:
			return
		case name == "Product":
			parent = fmt.Appendf(nil, `%s,"variants":{"nodes":[%s],"pageInfo":{"hasNextPage":false}}}`, parent[:len(parent)-1], bytes.Join(children, []byte(",")))
		}
		out[thingOf(strings.ToLower(name)+"s/"+id, parent)] = 1
	}
	for line := range bytes.Lines(file) {
		line = bytes.TrimSuffix(line, []byte("\n"))
		if gjson.GetBytes(line, "__parentId").Exists() {
			children = append(children, line)
			continue
		}
		end()
		of, parent, children = gjson.GetBytes(line, "id").Str, line, nil
	}
	end()
	return out
}

func (a *shopifyApp) live() map[string]state {
	out := map[string]state{}
	for _, stream := range shopStreams {
		for _, id := range a.IDs(stream) {
			at, _ := a.UpdatedAt(stream, id)
			out[shopName(stream, id)] = state{version: at.UnixMicro()}
		}
	}
	return out
}
