//go:build slow

package mongodb_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// relay stands before FerretDB. It tells clients to send 10 writes a command, because each holds a connection of FerretDB to its database until the command ends; and it answers commands itself, as MongoDB
// would, where a test wants an answer that FerretDB does not have.
type relay struct {
	address string
	server  string

	mu     sync.Mutex
	answer func(command string, message []byte) bson.D
	open   map[net.Conn]bool
	closed bool
	done   sync.WaitGroup
}

func newRelay(t testing.TB, server string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{address: l.Addr().String(), server: server, open: make(map[net.Conn]bool)}
	r.done.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r.done.Go(func() { r.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		r.mu.Lock()
		r.closed = true
		for conn := range r.open {
			conn.Close()
		}
		r.mu.Unlock()
		r.done.Wait()
	})
	return r
}

// answers sets what the relay answers to a command; a nil answer lets it pass.
func (r *relay) answers(answer func(command string, message []byte) bson.D) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *relay) keep(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		conn.Close()
		return false
	}
	r.open[conn] = true
	return true
}

func (r *relay) drop(conn net.Conn) {
	conn.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.open, conn)
}

func (r *relay) serve(client net.Conn) {
	if !r.keep(client) {
		return
	}
	defer r.drop(client)
	server, err := net.Dial("tcp", r.server)
	if err != nil || !r.keep(server) {
		return
	}
	defer r.drop(server)
	for {
		message, err := readMessage(client)
		if err != nil {
			return
		}
		reply := r.reply(message)
		if reply == nil {
			if _, err := server.Write(message); err != nil {
				return
			}
			if reply, err = readMessage(server); err != nil {
				return
			}
			limitWrites(reply)
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// Messages are as in https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/: a header of length, ID, ID of the request and opcode,
// then for OP_MSG flags and sections, the first of which is the command.
const (
	headerLength = 16
	opMsg        = 2013
)

func readMessage(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.LittleEndian.Uint32(length[:]))
	copy(message, length[:])
	_, err := io.ReadFull(r, message[4:])
	return message, err
}

func (r *relay) reply(message []byte) []byte {
	r.mu.Lock()
	answer := r.answer
	r.mu.Unlock()
	if answer == nil || binary.LittleEndian.Uint32(message[12:]) != opMsg {
		return nil
	}
	elements, err := command(message).Elements()
	if err != nil || len(elements) == 0 {
		return nil
	}
	doc := answer(elements[0].Key(), message)
	if doc == nil {
		return nil
	}
	body, err := bson.Marshal(doc)
	if err != nil {
		panic(err)
	}
	reply := make([]byte, headerLength+5, headerLength+5+len(body))
	binary.LittleEndian.PutUint32(reply, uint32(cap(reply)))
	copy(reply[8:12], message[4:8])
	binary.LittleEndian.PutUint32(reply[12:], opMsg)
	return append(reply, body...)
}

// command is the first section of a message.
func command(message []byte) bson.Raw {
	rest := message[headerLength+5:]
	return bson.Raw(rest[:binary.LittleEndian.Uint32(rest)])
}

func limitWrites(reply []byte) {
	field := []byte("\x10maxWriteBatchSize\x00")
	if i := bytes.Index(reply, field); i >= 0 {
		binary.LittleEndian.PutUint32(reply[i+len(field):], 10)
	}
}
