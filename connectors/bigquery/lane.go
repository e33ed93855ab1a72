package bigquery

import (
	"context"
	"strconv"

	"tributary/connectors/table"
)

// laneName names a lane of an installation's run, in a dataset.
type laneName struct{ dataset, epoch, lane string }

// lane is what this process knows of a lane. All of it may be forgotten at any time: it is found out again.
type lane struct {
	turn    chan struct{} // who holds it writes
	known   bool
	next    int64
	writers map[string]*writer // by table ID
}

// remembered bounds how many lanes are known at once.
const remembered = 10_000

func (k *client) lane(n laneName) *lane {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l := k.lanes[n]; l != nil {
		return l
	}
	for name, l := range k.lanes {
		if len(k.lanes) < remembered {
			break
		}
		if len(l.turn) == 0 {
			delete(k.lanes, name)
		}
	}
	l := &lane{turn: make(chan struct{}, 1), writers: make(map[string]*writer)}
	k.lanes[n] = l
	return l
}

// take waits for the lane's turn.
func (l *lane) take(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (l *lane) leave() { <-l.turn }

// forget makes the next attempt find out again where the lane stands, and take over its own streams: after a failure nobody knows what
// became of the rows in hand.
func (l *lane) forget() {
	l.known, l.next = false, 0
	clear(l.writers)
}

// position asks the ledger for the lane's next ordinal. Every step left a row; the greatest counts, so one that is written late or twice does no harm.
func (s *store) position(ctx context.Context, epoch, lane string) (next int64, err error) {
	sql := "SELECT IFNULL(MAX(next), 0) FROM " + s.dataset.own(table.Ledger) + " WHERE epoch = @epoch AND lane = @lane"
	err = s.client.query(ctx, s.place.location, sql, parameters{"epoch": epoch, "lane": lane}, func(row []string) (err error) {
		next, err = strconv.ParseInt(row[0], 10, 64)
		return err
	})
	return next, err
}
