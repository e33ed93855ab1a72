package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// arrived is a webhook on its way to the disk and to its row.
type arrived struct {
	id, stream string
	body       []byte
	at         time.Time
	durable    chan error
}

// intake checks signatures and writes bodies to a file; what comes while the disk is busy is written, and waits for the disk, together.
type intake struct {
	file    *os.File
	came    chan *arrived
	durable chan []*arrived
}

const (
	groupLimit = 1024
	maxBody    = 1 << 20
	// floorQueue is how many groups may wait for the database before senders wait.
	floorQueue = 4096
)

func openIntake(dir string) (*intake, error) {
	f, err := os.Create(filepath.Join(dir, "intake"))
	if err != nil {
		return nil, err
	}
	return &intake{file: f, came: make(chan *arrived, groupLimit), durable: make(chan []*arrived, floorQueue)}, nil
}

// ServeHTTP answers when the webhook is on the disk.
func (in *intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		http.Error(w, "the body can't be read", http.StatusBadRequest)
		return
	}
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write(body)
	given, err := hex.DecodeString(strings.TrimPrefix(r.Header.Get(signatureHeader), signaturePrefix))
	if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		http.Error(w, "wrong signature", http.StatusUnauthorized)
		return
	}
	a := &arrived{id: r.Header.Get(idHeader), stream: r.Header.Get(typeHeader), body: body, at: time.Now(), durable: make(chan error, 1)}
	in.came <- a
	if err := <-a.durable; err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
	}
}

// run writes groups for ever.
func (in *intake) run() error {
	var text []byte
	for {
		group := []*arrived{<-in.came}
		for more := true; more && len(group) < groupLimit; {
			select {
			case a := <-in.came:
				group = append(group, a)
			default:
				more = false
			}
		}
		text = text[:0]
		for _, a := range group {
			text = fmt.Appendf(text, "%s %s %d\n", a.id, a.stream, len(a.body))
			text = append(text, a.body...)
		}
		_, err := in.file.Write(text)
		if err == nil {
			err = in.file.Sync()
		}
		for _, a := range group {
			a.durable <- err
		}
		if err != nil {
			return err
		}
		in.durable <- group
	}
}

// loader copies into the table what is durable, as much as there is at once.
type loader struct {
	conn   *pgx.Conn
	table  string
	rows   <-chan []*arrived
	copied atomic.Int64
}

func (l *loader) run(ctx context.Context) error {
	for {
		var rows []*arrived
		select {
		case rows = <-l.rows:
		case <-ctx.Done():
			return nil
		}
		for more := true; more && len(rows) < lot; {
			select {
			case group := <-l.rows:
				rows = append(rows, group...)
			default:
				more = false
			}
		}
		first := l.copied.Load()
		n, err := l.conn.CopyFrom(ctx, pgx.Identifier{l.table}, rowColumns, pgx.CopyFromSlice(len(rows), func(i int) ([]any, error) {
			a := rows[i]
			return []any{floorInstallation, a.stream, a.id, "", "upsert", int64(0), nil, a.at, first + int64(i), a.body}, nil
		}))
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		l.copied.Add(n)
	}
}
