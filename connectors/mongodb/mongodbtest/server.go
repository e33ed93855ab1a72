// Package mongodbtest serves as much of MongoDB in this process as a writer of documents asks for: a standalone of version 7.0 without access control. It
// refuses what MongoDB refuses, and what it does not do.
package mongodbtest

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/x/bsonx/bsoncore"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/wiremessage"

	"tributary/connectors/connectortest/documented"
)

// Server is a running server. Addr is its host:port.
type Server struct {
	Addr string

	returned *documented.Errors

	mu          sync.Mutex
	collections map[string]*collection // by database and name with a dot between
	cursors     map[int64]*cursor
	clients     map[net.Conn]bool
	refusals    map[string]refusal // by command
	router      bool               // it says that it is one of a cluster
	lastCursor  int64
	closed      bool
}

// SayRouter has the server say that it is a router of a sharded cluster, which takes writes that are numbered to be tried again. It has no such numbers:
// a command that has one is refused.
func (s *Server) SayRouter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.router = true
}

// Collate makes a collection that has a collation. It says so; it compares as without one.
func (s *Server) Collate(database, name, locale string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	on := newCollection(database, name)
	on.locale = locale
	s.collections[database+"."+name] = on
}

// New starts a server that ends with the test. It counts the errors that it returns; nil counts nothing.
func New(t testing.TB, returned *documented.Errors) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: l.Addr().String(), collections: make(map[string]*collection), cursors: make(map[int64]*cursor), clients: make(map[net.Conn]bool), refusals: make(map[string]refusal), returned: returned}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			if s.keep(client) {
				serving.Go(func() { s.serve(client) })
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		s.mu.Lock()
		s.closed = true
		for client := range s.clients {
			client.Close()
		}
		s.mu.Unlock()
		serving.Wait()
	})
	return s
}

// Documents are those of a collection, in the order of their insertion.
func (s *Server) Documents(database, collection string) []bson.Raw {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.collections[database+"."+collection]
	if c == nil {
		return nil
	}
	return slices.Clone(c.list)
}

// Collections are the names of those of a database.
func (s *Server) Collections(database string) (names []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for full := range s.collections {
		if name, ok := strings.CutPrefix(full, database+"."); ok {
			names = append(names, name)
		}
	}
	return names
}

// keep returns false, and closes the connection, when the server has ended.
func (s *Server) keep(client net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		client.Close()
		return false
	}
	s.clients[client] = true
	return true
}

func (s *Server) serve(client net.Conn) {
	defer func() {
		client.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.clients, client)
	}()
	for {
		message, err := read(client)
		if err != nil {
			return
		}
		answer, err := s.answer(message)
		if err != nil {
			return // MongoDB closes a connection that does not speak its protocol
		}
		if _, err := client.Write(answer); err != nil {
			return
		}
	}
}

// maxMessage is the size of the largest message in bytes: https://www.mongodb.com/docs/manual/reference/command/hello/#mongodb-data-hello.maxMessageSizeBytes
const maxMessage = 48_000_000

var errProtocol = errors.New("not a message of the protocol")

// read reads a message: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#standard-message-header
func read(r io.Reader) ([]byte, error) {
	var length [4]byte
	if _, err := io.ReadFull(r, length[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(length[:])
	if n < 16 || n > maxMessage {
		return nil, errProtocol
	}
	message := make([]byte, n)
	copy(message, length[:])
	_, err := io.ReadFull(r, message[4:])
	return message, err
}

// answer answers an OP_MSG, or an OP_QUERY, which drivers send when they don't know yet what the server speaks.
func (s *Server) answer(message []byte) ([]byte, error) {
	_, id, _, code, rest, ok := wiremessage.ReadHeader(message)
	if !ok {
		return nil, errProtocol
	}
	var answer []byte
	var start int32
	switch code {
	case wiremessage.OpMsg:
		c, err := parseMessage(rest)
		if err != nil {
			return nil, err
		}
		start, answer = wiremessage.AppendHeaderStart(nil, wiremessage.NextRequestID(), id, wiremessage.OpMsg)
		answer = wiremessage.AppendMsgFlags(answer, 0)
		answer = wiremessage.AppendMsgSectionType(answer, wiremessage.SingleDocument)
		answer = append(answer, encode(s.run(c))...)
	case opQuery:
		c, err := parseQuery(rest)
		if err != nil {
			return nil, err
		}
		start, answer = wiremessage.AppendHeaderStart(nil, wiremessage.NextRequestID(), id, wiremessage.OpReply)
		answer = wiremessage.AppendReplyFlags(answer, wiremessage.AwaitCapable)
		answer = wiremessage.AppendReplyCursorID(answer, 0)
		answer = wiremessage.AppendReplyStartingFrom(answer, 0)
		answer = wiremessage.AppendReplyNumberReturned(answer, 1)
		answer = append(answer, encode(s.run(c))...)
	default:
		return nil, errProtocol
	}
	return bsoncore.UpdateLength(answer, start, int32(len(answer))), nil
}

func encode(d bson.D) []byte {
	b, err := bson.Marshal(d)
	if err != nil {
		panic(err) // of our own making
	}
	return b
}

// parseMessage reads an OP_MSG: https://www.mongodb.com/docs/manual/reference/mongodb-wire-protocol/#op_msg
func parseMessage(rest []byte) (*command, error) {
	flags, rest, ok := wiremessage.ReadMsgFlags(rest)
	if !ok || flags&^wiremessage.ExhaustAllowed != 0 { // neither a checksum nor more to come: drivers send these on demand only
		return nil, errProtocol
	}
	c := &command{lists: make(map[string][]bson.Raw)}
	for len(rest) > 0 {
		var kind wiremessage.SectionType
		if kind, rest, ok = wiremessage.ReadMsgSectionType(rest); !ok {
			return nil, errProtocol
		}
		switch kind {
		case wiremessage.SingleDocument:
			var body bsoncore.Document
			if body, rest, ok = wiremessage.ReadMsgSectionSingleDocument(rest); !ok || c.body != nil {
				return nil, errProtocol
			}
			c.body = bson.Raw(body)
		case wiremessage.DocumentSequence:
			name, documents, more, ok := wiremessage.ReadMsgSectionDocumentSequence(rest)
			if !ok || c.lists[name] != nil {
				return nil, errProtocol
			}
			for _, d := range documents {
				c.lists[name] = append(c.lists[name], bson.Raw(d))
			}
			rest = more
		default:
			return nil, errProtocol
		}
	}
	return c, c.validate()
}

// opQuery is the operation of a first message: https://www.mongodb.com/docs/manual/legacy-opcodes/#op_query
const opQuery wiremessage.OpCode = 2004

// parseQuery reads an OP_QUERY, which may be a handshake only: flags, a name that ends in NUL, how many to skip, how many to return, and the query.
func parseQuery(rest []byte) (*command, error) {
	const flags, numbers, name = 4, 8, "admin.$cmd\x00"
	if len(rest) < flags+len(name)+numbers || string(rest[flags:flags+len(name)]) != name {
		return nil, errProtocol
	}
	body, _, ok := bsoncore.ReadDocument(rest[flags+len(name)+numbers:])
	if !ok {
		return nil, errProtocol
	}
	c := &command{body: bson.Raw(body), legacy: true}
	return c, c.validate()
}
