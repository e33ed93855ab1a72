package activities

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/internal/vault"
)

// An activity that takes its time heartbeats meanwhile, however small it is: an installation that is to continue as new waits for
// it, so that its worker's death must be noticed soon.
func TestActivitiesHeartbeat(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		activity string
		input    func(*rig) any
		// stuck makes the activity wait until go ahead is closed.
		stuck func(t *testing.T, r *rig, goAhead <-chan struct{})
	}{
		"check":            {CheckName, func(r *rig) any { return CheckInput{Target: r.target} }, stuckApp},
		"check connection": {CheckConnectionName, func(*rig) any { return ConnectionInput{Owner: vault.User(user), Connector: "app", Name: "default"} }, stuckApp},
		"subscribe":        {SubscribeName, func(r *rig) any { return SubscribeInput{Target: r.target, Streams: []string{"orders"}} }, stuckApp},
		"unsubscribe":      {UnsubscribeName, func(r *rig) any { return SubscribeInput{Target: r.target} }, stuckApp},
		"activate":         {ActivateName, func(r *rig) any { return EndInput{Target: r.target} }, stuckCatalog},
		"end":              {EndName, func(r *rig) any { return EndInput{Target: r.target} }, stuckCatalog},
		"publish":          {PublishName, func(r *rig) any { return PublishInput{Target: r.target} }, stuckCatalog},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, "app")
			goAhead := make(chan struct{})
			release := sync.OnceFunc(func() { close(goAhead) })
			c.stuck(t, r, goAhead)
			late := time.AfterFunc(3*time.Second, release) // one that does not heartbeat ends, too
			defer late.Stop()
			heard := false
			must(t, r.attempt(attemptOf{beat: 30 * time.Millisecond, heard: func([]any) {
				heard = true
				release()
			}}, c.activity, c.input(r), nil))
			if !heard {
				t.Error("no heartbeat")
			}
		})
	}
}

func stuckApp(_ *testing.T, r *rig, goAhead <-chan struct{}) {
	r.app.check = func() error { <-goAhead; return nil }
	r.app.before = func(string) error {
		<-goAhead
		return connectors.Errorf(connectors.Unavailable, "", "late")
	}
}

// stuckCatalog lets no statement write until then.
func stuckCatalog(t *testing.T, r *rig, goAhead <-chan struct{}) {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(r.folder, "catalog.db"))
	must(t, err)
	conn, err := db.Conn(t.Context())
	must(t, err)
	_, err = conn.ExecContext(t.Context(), "BEGIN IMMEDIATE")
	must(t, err)
	released := make(chan struct{})
	go func() {
		defer close(released)
		<-goAhead
		conn.Close() // and with it what it began
		db.Close()
	}()
	t.Cleanup(func() { <-released })
}
