package redshift_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/redshift"
	"tributary/connectors/redshift/redshifttest"
)

// hold stops the next statement that begins so until goOn is called. held waits until it is stopped, by a write that ends with what ended brings.
func hold(t *testing.T, s *redshifttest.Server, begins string) (held func(ended <-chan error), goOn func()) {
	stopped, release := make(chan struct{}), make(chan struct{})
	var once sync.Once
	s.Fail(func(sql string) *redshifttest.Failure {
		if strings.HasPrefix(sql, begins) {
			first := false
			once.Do(func() { first = true })
			if first {
				close(stopped)
				<-release
			}
		}
		return nil
	})
	goOn = sync.OnceFunc(func() { close(release) })
	t.Cleanup(goOn)
	held = func(ended <-chan error) {
		t.Helper()
		select {
		case <-stopped:
		case err := <-ended:
			t.Fatalf("ended before any %s: %v", begins, err)
		}
	}
	return held, goOn
}

// A column that comes when the rows are staged, and is filled in the row that they replace, does not keep its value there.
func TestColumnsThatComeMeanwhile(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := block(t, connection(t, s), redshift.Settings{}, connectors.ModeUpsert)
	c.Layout = connectors.LayoutColumns
	connectortest.Write(t, opened(t, c), connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1))
	held, goOn := hold(t, s, "BEGIN")
	newest := connectortest.Batch(connectors.ModeUpsert, "orders", 1, 1)
	newest.Records[0].Key, newest.Records[0].Version = "key0", 9
	late := opened(t, c)
	done := make(chan error, 1)
	go func() {
		_, err := late.Write(context.Background(), newest)
		done <- err
	}()
	held(done)
	older := connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1)
	older.Lane, older.Records[0].Version, older.Records[0].Data = "another", 8, []byte(`{"a":1,"b":"old"}`)
	connectortest.Write(t, opened(t, c), older)
	goOn()
	wantError(t, <-done, connectors.Unavailable, "changed meanwhile")
	connectortest.Write(t, late, newest)
	if got := columnRows(t, s); len(got) != 1 || got[0].Version != 9 || got[0].Data != `{"a":1}` {
		t.Errorf("the rows are %+v", got)
	}
}

// An attempt that was given up and goes on when the next one has committed changes nothing and says that it comes again.
func TestZombie(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"few": 10, "many": 300} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			cfg := block(t, connection(t, s), redshift.Settings{}, connectors.Append)
			connectortest.Write(t, opened(t, cfg), connectortest.Batch(connectors.Append, "orders", 0, 1))
			held, goOn := hold(t, s, "BEGIN") // its rows are staged
			b := connectortest.Batch(connectors.Append, "orders", 1, n)
			zombie := make(chan error, 1)
			late := opened(t, cfg)
			go func() {
				_, err := late.Write(context.Background(), b)
				zombie <- err
			}()
			held(zombie)
			connectortest.Write(t, opened(t, cfg), b)
			goOn()
			wantError(t, <-zombie, connectors.Unavailable, "another attempt")
			if got := len(rows(t, s)); got != n+1 {
				t.Errorf("%d rows, want %d", got, n+1)
			}
			connectortest.Write(t, late, b)
			if got := len(rows(t, s)); got != n+1 {
				t.Errorf("%d rows, want %d", got, n+1)
			}
		})
	}
}

// An attempt that comes while an earlier one loads finds its files there, which are the same. Who is first removes them, and the other comes again.
func TestSameFiles(t *testing.T) {
	t.Parallel()
	s := serve(t)
	cfg := block(t, connection(t, s), redshift.Settings{}, connectors.Append)
	connectortest.Write(t, opened(t, cfg), connectortest.Batch(connectors.Append, "orders", 0, 1))
	held, goOn := hold(t, s, "COPY")
	b := connectortest.Batch(connectors.Append, "orders", 1, 200)
	zombie := make(chan error, 1)
	late := opened(t, cfg)
	go func() {
		_, err := late.Write(context.Background(), b)
		zombie <- err
	}()
	held(zombie)
	there := s.Objects(t)
	connectortest.Write(t, opened(t, cfg), b)
	goOn()
	wantError(t, <-zombie, connectors.Unavailable, "another attempt")
	if len(there) != 2 || len(s.Objects(t)) != 0 {
		t.Errorf("%q were there, %q are", there, s.Objects(t))
	}
	connectortest.Write(t, late, b)
	if got := len(rows(t, s)); got != 201 {
		t.Errorf("%d rows", got)
	}
}

// Two lanes write into one table at once: one waits for the other for the length of its transaction, and neither fails for the other's sake.
func TestLanesWaitForEachOther(t *testing.T) {
	t.Parallel()
	s := serve(t)
	cfg := block(t, connection(t, s), redshift.Settings{}, connectors.ModeUpsert)
	connectortest.Write(t, opened(t, cfg), connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1))
	var group sync.WaitGroup
	for lane := range 4 {
		d := opened(t, cfg)
		group.Go(func() {
			for i := range 4 {
				b := connectortest.Batch(connectors.ModeUpsert, "orders", 1+i*150, 150)
				b.Lane = fmt.Sprint("lane ", lane)
				if _, err := d.Write(t.Context(), b); err != nil {
					t.Errorf("lane %d: %v", lane, err)
				}
			}
		})
	}
	group.Wait()
	if got := len(rows(t, s)); got != 601 {
		t.Errorf("%d rows, want 601", got)
	}
}

// A transaction of somebody else's that conflicts ends ours with 1023, and the batch comes again.
func TestSerializationConflict(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := opened(t, block(t, connection(t, s), redshift.Settings{}, connectors.ModeUpsert))
	connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", 0, 10))
	s.Exec(t, "CREATE TABLE report (n bigint)")
	ctx := t.Context()
	hers, err := pgx.Connect(ctx, s.DSN)
	if err != nil {
		t.Fatal(err)
	}
	defer hers.Close(context.Background())
	exec := func(sql string) {
		if _, err := hers.Exec(ctx, sql); err != nil {
			t.Error(err)
		}
	}
	// She reads what we write and writes what we read, each before the other has committed.
	exec("BEGIN ISOLATION LEVEL SERIALIZABLE")
	exec("UPDATE orders SET _version = 0 WHERE _key = 'key3'")
	done := make(chan error, 1)
	go func() {
		b := connectortest.Batch(connectors.ModeUpsert, "orders", 10, 1)
		b.Records[0].Key, b.Records[0].Version = "key3", 5
		_, err := d.Write(ctx, b)
		done <- err
	}()
	waitFor(t, func() bool {
		return value[int](t, s, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") > 0
	})
	exec("COMMIT")
	wantError(t, <-done, connectors.Unavailable, "1023")
	b := connectortest.Batch(connectors.ModeUpsert, "orders", 10, 1)
	b.Records[0].Key, b.Records[0].Version = "key3", 5
	connectortest.Write(t, d, b)
}

func waitFor(t *testing.T, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not happen")
		}
	}
}
