package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"tributary/connectors/postgres"
	"tributary/connectors/webhook"
	"tributary/internal/pgtest"
	"tributary/internal/sandbox"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// Temporal is killed under load and started again on its file and port, time after time. Worker and receiver live on, and everything that was
// acknowledged or fetched arrives once, without anybody's help.
func TestTemporalRestarts(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	server := role{Server: true, Dir: t.TempDir(), Port: port}
	temporal := spawn(t, server)
	s := stack.Start(t, func(s *stack.Setup) {
		s.Temporal = fmt.Sprintf("127.0.0.1:%d", port)
		s.TaskTime = 2 * time.Second
	})
	dsn := pgtest.Database(t)
	s.Connect(vault.User(s.User), "webhook", webhook.Connection{Secret: hookSecret})
	s.Connect(vault.Operator, "postgres", postgres.Connection{URL: dsn})
	sh, conn := shop(t, sandbox.Options{Products: 200})
	s.Connect(vault.User(s.User), "shopify", conn)
	s.Define(`
name: hooks
source:
  connector: webhook
  settings: {preset: github, key: {body: .key}}
  trigger: realtime
  streams: [orders]
destinations:
  - {name: warehouse, connector: postgres, hidden: true, mode: append, settings: {table: hooks}}
`)
	s.Define(`
name: products
source:
  connector: shopify
  settings: {overlap: 1m, page_size: 20}
  trigger: {kind: polling, interval: 1s}
  streams: [products]
destinations:
  - {name: warehouse, connector: postgres, hidden: true, mode: append, settings: {table: products}}
`)
	timing := workflows.Timing{Events: 60, Heartbeat: 2 * time.Second, Backoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond, ChunkRecords: 60}
	hooks := s.Install("hooks", s.User, timing)
	products := s.Install("products", s.User, timing)

	ctx, stop := context.WithCancel(context.Background())
	var busy sync.WaitGroup
	t.Cleanup(func() { stop(); busy.Wait() })
	load := startSending(t, hooks.HookURL, 1, 3, 30*time.Millisecond, 900)
	busy.Go(func() {
		for ctx.Err() == nil {
			sh.Create(sandbox.Products)
			rest(ctx, 100*time.Millisecond)
		}
	})
	for range 3 {
		load.more(t, "webhooks while Temporal runs", 40)
		temporal.kill()
		load.more(t, "webhooks while Temporal is dead", 40) // the journal needs no Temporal
		temporal = spawn(t, server)
		s.Await(hooks.ID, time.Minute, "delivery goes on", func(st workflows.Status) bool {
			return time.Since(st.ReceivedAt) < 5*time.Second && st.Delivered > 0
		})
	}
	load.finish(t, time.Minute)
	stop()
	busy.Wait()
	acked, _ := load.acknowledged()
	var problem string
	eventually(t, 2*time.Minute, "everything, once", func() bool {
		missing, surplus := acked.diff(rowsOf(t, dsn, "hooks", "_id"))
		problem = fmt.Sprintf("%d of %d webhooks missing, %d too many", missing, len(acked), surplus)
		return missing+surplus == 0
	})
	t.Log(problem)
	served := func() tally {
		out := tally{}
		for _, node := range sh.Served() {
			out[thing{fmt.Sprint(node.ID), node.SHA256}] = 1
		}
		return out
	}
	eventually(t, 2*time.Minute, "products", func() bool {
		missing, surplus := served().diff(rowsOf(t, dsn, "products", "_key"))
		return missing+surplus == 0 && len(served()) == len(sh.IDs(sandbox.Products))
	})
	for _, id := range []string{hooks.ID, products.ID} {
		s.Await(id, time.Minute, "health", func(st workflows.Status) bool { return st.Health == workflows.Healthy && st.Lag == 0 })
	}
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
