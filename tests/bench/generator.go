package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// The load generator speaks just as much HTTP as it takes: it shares the machine with what it measures.

const (
	connections  = 64
	webhookBytes = 1024
	hookSecret   = "the secret that both sides know"
	eventName    = "orders"

	idHeader        = "X-GitHub-Delivery"
	typeHeader      = "X-GitHub-Event"
	signatureHeader = "X-Hub-Signature-256"
	signaturePrefix = "sha256="
)

// load is a number of webhooks to send.
type load struct {
	address string   // host:port
	paths   []string // webhook i goes to path i modulo their number
	count   int
	rate    float64 // a second; 0 = as fast as they are taken
}

// sent is how it went.
type sent struct {
	began, ended time.Time
	// due is when each webhook was to be sent, by number; only where there is a rate. Counting from then, and not from when it was sent,
	// no wait is forgotten.
	due []time.Time
	// refused counts answers other than 200; what got one was sent again.
	refused int64
}

// run sends everything from all connections; each webhook until it is acknowledged.
func (l load) run(ctx context.Context) (sent, error) {
	s := sent{began: time.Now()}
	if l.rate > 0 {
		s.due = make([]time.Time, l.count)
		for i := range s.due {
			s.due[i] = s.began.Add(time.Duration(float64(i) / l.rate * float64(time.Second)))
		}
	}
	var next, refused atomic.Int64
	g, ctx := errgroup.WithContext(ctx)
	for range min(connections, l.count) {
		g.Go(func() error {
			c, err := dial(ctx, l.address)
			if err != nil {
				return err
			}
			defer c.Close()
			for {
				i := int(next.Add(1) - 1)
				if i >= l.count {
					return nil
				}
				if s.due != nil {
					if err := sleep(ctx, time.Until(s.due[i])); err != nil {
						return err
					}
				}
				for {
					status, err := c.post(l.paths[i%len(l.paths)], i)
					if err != nil {
						return fmt.Errorf("webhook %d: %w", i, err)
					}
					if status == 200 {
						break
					}
					refused.Add(1)
					if status != 429 && status != 503 {
						return fmt.Errorf("webhook %d: the answer is %d", i, status)
					}
					if err := sleep(ctx, 5*time.Millisecond); err != nil {
						return err
					}
				}
			}
		})
	}
	err := g.Wait()
	s.ended, s.refused = time.Now(), refused.Load()
	return s, err
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// connection is a sender with a connection that it keeps.
type connection struct {
	net.Conn
	host    string
	in      *bufio.Reader
	mac     hash.Hash
	body    []byte
	request []byte
}

func dial(ctx context.Context, address string) (*connection, error) {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return &connection{Conn: conn, host: address, in: bufio.NewReader(conn), mac: hmac.New(sha256.New, []byte(hookSecret))}, nil
}

// post sends webhook i and returns the answer's status.
func (c *connection) post(path string, i int) (int, error) {
	c.body = append(c.body[:0], `{"id":`...)
	c.body = strconv.AppendInt(c.body, int64(i), 10)
	c.body = append(c.body, `,"total_spent":"0.00","currency":"USD","note":"`...)
	for len(c.body) < webhookBytes-2 {
		c.body = append(c.body, padding[:min(len(padding), webhookBytes-2-len(c.body))]...)
	}
	c.body = append(c.body, `"}`...)
	c.mac.Reset()
	c.mac.Write(c.body)
	r := append(c.request[:0], "POST "...)
	r = append(r, path...)
	r = append(r, " HTTP/1.1\r\nHost: "...)
	r = append(r, c.host...)
	r = append(r, "\r\nContent-Type: application/json\r\n"+typeHeader+": "+eventName+"\r\n"+idHeader+": "...)
	r = strconv.AppendInt(r, int64(i), 10)
	r = append(r, "\r\n"+signatureHeader+": "+signaturePrefix...)
	r = hex.AppendEncode(r, c.mac.Sum(nil))
	r = append(r, "\r\nContent-Length: "...)
	r = strconv.AppendInt(r, int64(len(c.body)), 10)
	r = append(r, "\r\n\r\n"...)
	r = append(r, c.body...)
	c.request = r
	if _, err := c.Write(r); err != nil {
		return 0, err
	}
	return c.answer()
}

// answer reads a whole answer, whose length must be given.
func (c *connection) answer() (status int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if len(line) < 12 {
		return 0, fmt.Errorf("not HTTP: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, fmt.Errorf("not HTTP: %q", line)
	}
	length := -1
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			break
		}
		if name, value, ok := strings.Cut(string(line), ":"); ok && strings.EqualFold(name, "Content-Length") {
			if length, err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
				return 0, err
			}
		}
	}
	if length < 0 {
		return 0, fmt.Errorf("the answer %d does not say its length", status)
	}
	_, err = c.in.Discard(length)
	return status, err
}
