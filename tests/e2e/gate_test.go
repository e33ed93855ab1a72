package e2e

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// gate stands before a server and can hold back what a client says, from a given word on, as a network that is slow at the
// worst moment: the client may be long dead when the server hears it.
type gate struct {
	address string
	closed  chan struct{} // by the test's end

	mu   sync.Mutex
	word []byte // waited for; nil = none
	held *catch
}

// catch is a connection whose client was held back.
type catch struct {
	caught   chan struct{} // closed when it is
	released chan struct{} // closed to let it go on
	// ended is closed when the server has heard, after the release, one of these or the end of the connection.
	ended chan struct{}
	ends  [][]byte
}

func newGate(t *testing.T, upstream string) *gate {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{address: l.Addr().String(), closed: make(chan struct{})}
	var open sync.WaitGroup
	t.Cleanup(func() { close(g.closed); l.Close(); open.Wait() })
	open.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", upstream)
			if err != nil {
				client.Close()
				continue
			}
			t.Cleanup(func() { client.Close(); server.Close() })
			open.Go(func() { _, _ = io.Copy(client, server); client.Close() })
			open.Go(func() { g.forward(server, client); server.Close() })
		}
	})
	return g
}

// hold waits for the next client that says the word, and holds back that and what follows. After its release it is watched until
// the server has heard one of ends from it, or its end.
func (g *gate) hold(word string, ends ...string) *catch {
	c := &catch{caught: make(chan struct{}), released: make(chan struct{}), ended: make(chan struct{})}
	for _, e := range ends {
		c.ends = append(c.ends, []byte(e))
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.word, g.held = []byte(word), c
	return c
}

// take returns the catch if b says the word.
func (g *gate) take(b []byte) *catch {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.word == nil || !bytes.Contains(b, g.word) {
		return nil
	}
	g.word = nil
	return g.held
}

// forward takes what the client says to the server. The messages that are looked for are small, so each comes in one piece.
func (g *gate) forward(server io.Writer, client io.Reader) {
	var held *catch
	over := func() {
		if held != nil {
			close(held.ended)
			held = nil
		}
	}
	defer over()
	b := make([]byte, 64<<10)
	for {
		n, err := client.Read(b)
		if c := g.take(b[:n]); c != nil {
			close(c.caught)
			select {
			case <-c.released:
			case <-g.closed:
			}
			held = c
		}
		if _, failed := server.Write(b[:n]); failed != nil || err != nil {
			return
		}
		if held != nil {
			for _, e := range held.ends {
				if bytes.Contains(b[:n], e) {
					over()
					break
				}
			}
		}
	}
}

// within fails the test when it takes longer.
func within(t *testing.T, d time.Duration, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(d):
		t.Fatalf("%s: not within %s", what, d)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s", what, d)
		}
	}
}
