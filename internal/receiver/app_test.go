package receiver

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// An app's records go to the installations of their accounts, one entry each; an account that nobody has is acknowledged and counted.
func TestAppRoutes(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{})
	send := func(body string) answer {
		return f.send("POST", "/apps/tiny/default", []byte(body), sign(secret, []byte(body)))
	}
	of := func(id, account string) string {
		return fmt.Sprintf(`{"id":%q,"stream":"orders","account":%q}`, id, account)
	}
	f.want("mixed", send(events(of("a", "1"), of("b", "2"), of("c", "9"), of("d", "1"))), 200)
	kept := f.kept()
	ids := func(epoch string) (s string) {
		for _, r := range kept[epoch] {
			s += r.ID
		}
		return s
	}
	if ids("epoch-ada") != "ad" || ids("epoch-bob") != "b" || len(kept) != 2 {
		t.Errorf("kept %+v", kept)
	}
	if first, next := f.journal.Bounds(); next-first != 2 {
		t.Errorf("%d entries, want 2", next-first)
	}
	f.wantMetric("tributary_receiver_unrouted_records_total 1")
	f.want("wrong signature", f.send("POST", "/apps/tiny/default", []byte("{}"), "x"), 401)
	f.want("unknown connector", f.send("POST", "/apps/other/default", nil, ""), 404)
	f.want("unknown connection", f.send("POST", "/apps/tiny/other", nil, ""), 404)
}

// One installation under pressure does not make an app hold back the others' records (I11); when all are, it does.
func TestAppPressure(t *testing.T) {
	t.Parallel()
	f := start(t, Limits{CacheTime: time.Millisecond})
	f.catalog.set(func(d *directory) { d.installations[0].Pressure = true })
	body := []byte(events(`{"id":"a","stream":"orders","account":"1"}`, `{"id":"b","stream":"orders","account":"2"}`))
	send := func() answer { return f.send("POST", "/apps/tiny/default", body, sign(secret, body)) }
	f.want("one under pressure", send(), 200)
	if kept := f.kept(); len(kept["epoch-ada"]) != 1 || len(kept["epoch-bob"]) != 1 {
		t.Errorf("kept %+v", kept)
	}
	f.catalog.set(func(d *directory) { d.installations[1].Pressure = true })
	eventually(t, "all under pressure", func() bool { return send().status == 429 })
	f.catalog.set(func(d *directory) { d.down = errors.New("down") })
	eventually(t, "catalog down", func() bool { return send().status == 503 })
}
