package e2e

import (
	"context"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"tributary/connectors/postgres"
	"tributary/connectors/webhook"
	"tributary/internal/engine"
	"tributary/internal/pgtest"
	"tributary/internal/vault"
	"tributary/tests/stack"
	"tributary/workflows"
)

// A receiver whose disk is full answers 503, and 200 to nothing that is not durable; with room again it recovers by itself, and
// also when it was killed meanwhile. All that was acknowledged arrives once.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	s := stack.OpenStores(t)
	var err error
	if s.Worker, err = s.StartWorker(context.Background(), s.Client); err != nil {
		t.Fatal(err)
	}
	r := role{Receiver: true, Config: s.Config, Temporal: s.Temporal}
	receiver := spawn(t, r)
	f := fill(t, s)

	f.load.more(t, "webhooks", 20)
	receiver.signal(syscall.SIGUSR1)
	f.refusals("a full disk", 50)
	receiver.signal(syscall.SIGUSR2)
	f.load.more(t, "webhooks with room again", 50)
	receiver.signal(syscall.SIGUSR1)
	f.refusals("a disk that is full again", 50)
	receiver.kill()
	spawn(t, r)
	f.load.more(t, "webhooks after a kill with a full disk", 50)
	f.settled()
}

// A journal that has reached its limit, because the forwarder can hand over nothing, is as full as a disk.
func TestFullJournal(t *testing.T) {
	t.Parallel()
	s := stack.Start(t, func(s *stack.Setup) { s.JournalBytes = 512 << 10 })
	f := fill(t, s)
	f.load.more(t, "webhooks", 20)
	back := away(t, s)
	f.refusals("a full journal", 50)
	back()
	f.load.more(t, "webhooks when it empties", 50)
	f.settled()
}

// filling is a load of large webhooks for PostgreSQL.
type filling struct {
	t    *testing.T
	s    *stack.Stack
	in   engine.Installed
	dsn  string
	load *sender
}

func fill(t *testing.T, s *stack.Stack) *filling {
	t.Helper()
	f := &filling{t: t, s: s, dsn: pgtest.Database(t)}
	s.Connect(vault.User(s.User), "webhook", webhook.Connection{Secret: hookSecret})
	s.Connect(vault.Operator, "postgres", postgres.Connection{URL: f.dsn})
	s.Define(`
name: hooks
source:
  connector: webhook
  settings: {preset: github}
  trigger: realtime
  streams: [orders]
destinations:
  - {name: warehouse, connector: postgres, hidden: true, mode: append, settings: {table: hooks}}
`)
	f.in = s.Install("hooks", s.User, workflows.Timing{Backoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond})
	f.load = startSending(t, f.in.HookURL, 2, 4, 5*time.Millisecond, 20_000)
	return f
}

func (f *filling) refusals(what string, n int) {
	f.t.Helper()
	before := f.load.refusals(http.StatusServiceUnavailable)
	eventually(f.t, time.Minute, what, func() bool { return f.load.refusals(http.StatusServiceUnavailable) >= before+n })
}

func (f *filling) settled() {
	f.t.Helper()
	f.load.finish(f.t, time.Minute)
	f.load.mu.Lock()
	statuses := slices.Sorted(maps.Keys(f.load.refused))
	f.load.mu.Unlock()
	for _, status := range statuses {
		if status != 0 && status != http.StatusServiceUnavailable {
			f.t.Errorf("the receiver answered %d", status)
		}
	}
	acked, _ := f.load.acknowledged()
	f.s.Await(f.in.ID, 2*time.Minute, "settled", func(st workflows.Status) bool {
		missing, _ := acked.diff(rowsOf(f.t, f.dsn, "hooks", "_id"))
		return st.Lag == 0 && missing == 0
	})
	if missing, surplus := acked.diff(rowsOf(f.t, f.dsn, "hooks", "_id")); missing+surplus != 0 {
		f.t.Errorf("%d of %d missing, %d never acknowledged, changed or doubled", missing, len(acked), surplus)
	}
}

// away takes the segment store from the stack until it is brought back: where its folder was is something that is none.
func away(t *testing.T, s *stack.Stack) (back func()) {
	t.Helper()
	dir := filepath.Join(s.Config.Dir, "segments")
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var once sync.Once
	back = func() {
		once.Do(func() {
			if err := os.Remove(dir); err != nil {
				t.Error(err)
			}
			if err := os.Rename(dir+".away", dir); err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(back)
	return back
}
