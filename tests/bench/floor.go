package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
)

// The floor does the same durable work as the engine, as well as it can be done by hand and no more: the same webhooks or
// pages, the same bytes on disk before an acknowledgement, the same rows in a table of the same shape. It would lose what it had
// read when it dies, has one destination, no retries, no installations and no order.

const floorInstallation = "floor"

type floorTask struct {
	DSN   string `json:"dsn"`
	Dir   string `json:"dir"`
	Table string `json:"table"`
}

var rowColumns = []string{"_installation", "_stream", "_id", "_key", "_op", "_version", "_occurred_at", "_received_at", "_ordinal", "data"}

// floor serves webhooks at once, and reads pages when it is told to.
func (t floorTask) serve(ctx context.Context, mux *http.ServeMux) (string, func(), error) {
	conn, err := pgx.Connect(ctx, t.DSN)
	if err != nil {
		return "", nil, err
	}
	in, err := openIntake(t.Dir)
	if err != nil {
		return "", nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	loader := &loader{conn: conn, table: t.Table, rows: in.durable}
	server := &http.Server{Handler: in}
	failed := make(chan error, 3)
	go func() { failed <- in.run() }()
	go func() { failed <- loader.run(ctx) }()
	go func() { failed <- server.Serve(l) }()
	mux.HandleFunc("GET /copied", func(w http.ResponseWriter, r *http.Request) {
		select {
		case err := <-failed:
			answer(w, nil, errors.Join(errors.New("the floor has failed"), err))
		default:
			answer(w, loader.copied.Load(), nil)
		}
	})
	mux.HandleFunc("POST /poll", func(w http.ResponseWriter, r *http.Request) {
		set, err := connectors.Decode[pageSettings]([]byte(r.FormValue("settings")))
		if err == nil {
			err = t.poll(r.Context(), set)
		}
		answer(w, nil, err)
	})
	return l.Addr().String(), func() { server.Close() }, nil
}

// lot is how many rows go into one statement.
const lot = 5_000

// poll reads all pages and upserts them, reading ahead while it writes.
func (t floorTask) poll(ctx context.Context, set pageSettings) error {
	conn, err := pgx.Connect(ctx, t.DSN)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, `CREATE TEMP TABLE stage (_stream text, _id text, _key text, _op text, _version bigint,
		_occurred_at timestamptz, _received_at timestamptz, _ordinal bigint, data json) ON COMMIT DELETE ROWS`); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	lots := make(chan []connectors.Record, 2)
	read := make(chan error, 1)
	go func() {
		defer close(lots)
		read <- readAhead(ctx, &pages{set}, lots)
	}()
	for records := range lots {
		if err := t.upsert(ctx, conn, records); err != nil {
			return err
		}
	}
	return <-read
}

// readAhead reads pages and hands them on in lots.
func readAhead(ctx context.Context, source connectors.Source, lots chan<- []connectors.Record) error {
	var ready []connectors.Record
	var ordinal int64
	req := connectors.FetchRequest{Stream: pagesStream}
	for more := true; more; {
		page, err := source.Fetch(ctx, req)
		if err != nil {
			return err
		}
		now := time.Now()
		for _, r := range page.Records {
			r.ReceivedAt, r.Ordinal = now, ordinal
			ordinal++
			ready = append(ready, r)
		}
		req.Cursor, more = page.Cursor, page.More
		if len(ready) < lot && more {
			continue
		}
		select {
		case lots <- ready:
			ready = make([]connectors.Record, 0, lot)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

func (t floorTask) upsert(ctx context.Context, conn *pgx.Conn, records []connectors.Record) error {
	tx, err := conn.Begin(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }()
	_, err = tx.CopyFrom(ctx, pgx.Identifier{"stage"}, rowColumns[1:], pgx.CopyFromSlice(len(records), func(i int) ([]any, error) {
		r := &records[i]
		id := connectors.RecordID(r.Stream, r.Key, r.Version, r.Data)
		return []any{r.Stream, id, r.Key, string(r.Op), r.Version, r.OccurredAt, r.ReceivedAt, r.Ordinal, r.Data}, nil
	}))
	if err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	_, err = tx.Exec(ctx, `INSERT INTO `+t.Table+` AS t (_installation, _stream, _id, _key, _op, _version, _occurred_at, _received_at, _ordinal, data, _version_seen)
		SELECT '`+floorInstallation+`', _stream, _id, _key, _op, _version, _occurred_at, _received_at, _ordinal, data, _version FROM stage
		ON CONFLICT (_installation, _stream, _key, (CASE WHEN _key = '' THEN _id ELSE '' END)) DO UPDATE SET _id = excluded._id,
			_op = excluded._op, _version = excluded._version, _occurred_at = excluded._occurred_at, _received_at = excluded._received_at,
			_ordinal = excluded._ordinal, data = excluded.data, _version_seen = excluded._version_seen
		WHERE excluded._version >= t._version_seen`)
	if err != nil {
		return fmt.Errorf("upsert: %w", err)
	}
	return tx.Commit(ctx)
}
