package snowflake_test

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/fault"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

// A session's token that has expired is renewed; where that is not possible any more the next attempt logs in.
func TestExpiredSession(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	d := opened(t, s, connectors.Append)
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 2))
	s.ExpireSessions(false)
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 2, 2))
	s.ExpireSessions(true)
	connectortest.UntilDurable(t, d, connectortest.Batch(connectors.Append, "orders", 4, 2))
	wantOnce(t, s, "after both", connectortest.Batch(connectors.Append, "orders", 0, 6))
}

// Who logs in with a secret that has been changed needs new credentials; the connection with the new one works, while sessions of the old one go on.
func TestRotatedSecret(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	def := snowflake.Definition()
	old := open(t, def, direct(s), warehouse, connectors.Config{})
	defer old.Close()
	connectortest.Write(t, old, connectortest.Batch(connectors.Append, "orders", 0, 2))
	s.SetPassword("another")
	connectortest.Write(t, old, connectortest.Batch(connectors.Append, "orders", 2, 2))
	s.ExpireSessions(true)
	_, err := old.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 4, 2))
	if err != nil { // the session that ended
		connectortest.WantError(t, err, connectors.Unavailable)
		_, err = old.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 4, 2))
	}
	connectortest.WantError(t, err, connectors.Unauthorized, "390100")
	c := direct(s)
	c.Password = "another"
	fresh := open(t, def, c, warehouse, connectors.Config{})
	defer fresh.Close()
	connectortest.Write(t, fresh, connectortest.Batch(connectors.Append, "orders", 4, 2))
}

// Who is cancelled aborts the statement that runs, and leaves nothing open.
func TestCancelAborts(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	d := opened(t, s, connectors.Append)
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 2))
	var aborts atomic.Int32
	s.Befall(func(call string) fault.Fault {
		if call == "abort" {
			aborts.Add(1)
		}
		return fault.None
	})
	release := s.Hold() // so that COPY waits
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := d.Write(ctx, connectortest.Batch(connectors.Append, "orders", 2, 2))
		ended <- err
	}()
	eventually(t, func() bool { return s.Waiting() == 1 })
	cancel()
	connectortest.WantError(t, <-ended, connectors.Unavailable)
	eventually(t, func() bool { return s.Waiting() == 0 }) // although nobody has let it write
	if aborts.Load() == 0 {
		t.Error("no statement was aborted")
	}
	release()
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 2, 2))
}

func eventually(t *testing.T, is func() bool) {
	t.Helper()
	for range 2000 {
		if is() {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Fatal("it does not come to pass")
}

// A statement that takes longer than an answer may is waited for.
func TestLongStatements(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	s.SetPatience(0)
	d := opened(t, s, connectors.ModeUpsert)
	connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", 0, 20))
	wantOnce(t, s, "slowly", connectortest.Batch(connectors.ModeUpsert, "orders", 0, 20))
}

// The driver tries an upload again by itself, with what is left of the file; no record gets lost for it (I4).
func TestUploads(t *testing.T) {
	t.Parallel()
	for _, status := range []int{http.StatusInternalServerError, http.StatusBadRequest, http.StatusConflict} {
		s := snowflaketest.New(t, &returned)
		d := opened(t, s, connectors.Append)
		var n atomic.Int32
		s.Upload(func() int {
			if n.Add(1) == 1 {
				return status
			}
			return 0
		})
		b := connectortest.Batch(connectors.Append, "orders", 0, 50)
		connectortest.UntilDurable(t, d, b)
		wantOnce(t, s, http.StatusText(status), b)
		if files := s.Files(); len(files) != 0 {
			t.Errorf("%q are left on the stage", files)
		}
	}
}

// A file of which a line is missing is not taken (I4).
func TestLostLine(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	d := opened(t, s, connectors.ModeUpsert)
	b := connectortest.Batch(connectors.ModeUpsert, "orders", 0, 50)
	s.LoseLine()
	_, err := d.Write(t.Context(), b)
	connectortest.WantError(t, err, connectors.Unavailable, "49 of 50")
	connectortest.UntilDurable(t, d, b)
	wantOnce(t, s, "after the loss", b)
}

// The driver's own library is neither unpacked nor loaded: see package environment.
func TestNoNativeLibrary(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		return // there is no list of what is loaded
	}
	s := snowflaketest.New(t, &returned)
	connectortest.Write(t, opened(t, s, connectors.Append), connectortest.Batch(connectors.Append, "orders", 0, 1))
	loaded, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(loaded, []byte("sf_mini_core")) {
		t.Error("the driver has loaded its library")
	}
}
