package redshifttest

import (
	"context"
	"crypto/md5"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"net"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// session is a client's connection and the one to PostgreSQL behind it.
type session struct {
	*Server
	client  *pgproto3.Backend
	conn    net.Conn // to PostgreSQL
	backend *pgproto3.Frontend
	pid     uint32
	status  byte // of the transaction
}

// serve speaks with a client: https://www.postgresql.org/docs/current/protocol-flow.html
func (s *Server) serve(conn net.Conn) {
	c := &session{Server: s, client: pgproto3.NewBackend(conn, conn), status: 'I'}
	start := c.start(conn)
	if start == nil {
		return
	}
	if !c.authenticate(start) || !c.connect(start) {
		return
	}
	defer c.conn.Close()
	for c.step() {
	}
}

// start reads what a client begins with.
func (c *session) start(conn net.Conn) *pgproto3.StartupMessage {
	for {
		message, err := c.client.ReceiveStartupMessage()
		if err != nil {
			return nil
		}
		switch m := message.(type) {
		case *pgproto3.StartupMessage:
			return m
		case *pgproto3.CancelRequest:
			c.cancel(m)
			return nil
		case *pgproto3.SSLRequest:
			c.mu.Lock()
			config := c.tls
			c.mu.Unlock()
			answer := byte('N')
			if config != nil {
				answer = 'S'
			}
			if _, err := conn.Write([]byte{answer}); err != nil {
				return nil
			}
			if config != nil {
				secure := tls.Server(conn, config)
				if secure.Handshake() != nil {
					return nil // who called does not trust it
				}
				conn, c.client = secure, pgproto3.NewBackend(secure, secure)
			}
		default: // of GSS
			if _, err := conn.Write([]byte{'N'}); err != nil {
				return nil
			}
		}
	}
}

// cancel hands a request to cancel on.
func (s *Server) cancel(m *pgproto3.CancelRequest) {
	config, err := pgconn.ParseConfig(s.DSN)
	if err != nil {
		return
	}
	to, err := net.Dial("tcp", net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port))))
	if err != nil {
		return
	}
	defer to.Close()
	if b, err := m.Encode(nil); err == nil {
		_, _ = to.Write(b)
		_, _ = to.Read(make([]byte, 1)) // until the server has acted and closes
	}
}

func (c *session) fatal(code, message string) bool {
	c.returned.Return(code)
	c.client.Send(&pgproto3.ErrorResponse{Severity: "FATAL", Code: code, Message: message})
	_ = c.client.Flush()
	return false
}

// authenticate asks for the password as MD5.
func (c *session) authenticate(start *pgproto3.StartupMessage) bool {
	user := start.Parameters["user"]
	var salt [4]byte
	_, _ = rand.Read(salt[:])
	c.client.Send(&pgproto3.AuthenticationMD5Password{Salt: salt})
	if c.client.Flush() != nil || c.client.SetAuthType(pgproto3.AuthTypeMD5Password) != nil {
		return false
	}
	message, err := c.client.Receive()
	answer, ok := message.(*pgproto3.PasswordMessage)
	if err != nil || !ok {
		return false
	}
	c.mu.Lock()
	password, known := c.passwords[user]
	if given, ok := c.iam[user]; ok {
		password, known = given, ok
	}
	c.mu.Unlock()
	sum := func(s string) string {
		h := md5.Sum([]byte(s))
		return hex.EncodeToString(h[:])
	}
	if !known || answer.Password != "md5"+sum(sum(password+user)+string(salt[:])) {
		return c.fatal("28000", `password authentication failed for user "`+user+`"`)
	}
	if name := start.Parameters["database"]; name != Database {
		return c.fatal("3D000", `database "`+name+`" does not exist`)
	}
	for name := range start.Parameters {
		switch name {
		case "user", "database", "application_name", "client_encoding":
		default:
			return c.fatal("42704", `unrecognized configuration parameter "`+name+`"`)
		}
	}
	return true
}

// connect begins a session of PostgreSQL with what Redshift has by default.
func (c *session) connect(start *pgproto3.StartupMessage) bool {
	config, err := pgconn.ParseConfig(c.DSN)
	if err != nil {
		return c.fatal("XX000", "the stand-in can't reach its server")
	}
	config.RuntimeParams = map[string]string{"standard_conforming_strings": "off", "escape_string_warning": "off", "default_transaction_isolation": "serializable", "client_min_messages": "warning"}
	pg, err := pgconn.ConnectConfig(context.Background(), config)
	if err != nil {
		return c.fatal("53300", "too many connections")
	}
	if err := pg.Exec(context.Background(), "SET SESSION AUTHORIZATION "+c.role(start.Parameters["user"])).Close(); err != nil {
		_ = pg.Close(context.Background())
		return c.fatal("28000", "the user is unknown")
	}
	h, err := pg.Hijack()
	if err != nil {
		return c.fatal("XX000", "the stand-in can't take its connection over")
	}
	c.conn, c.backend, c.pid = h.Conn, h.Frontend, h.PID
	c.set(func() { c.conns[h.Conn] = true })
	c.client.Send(&pgproto3.AuthenticationOk{})
	for name, value := range map[string]string{"server_version": "8.0.2", "server_encoding": "UNICODE", "client_encoding": "UTF8", "DateStyle": "ISO, MDY", "integer_datetimes": "on"} {
		c.client.Send(&pgproto3.ParameterStatus{Name: name, Value: value})
	}
	c.client.Send(&pgproto3.BackendKeyData{ProcessID: h.PID, SecretKey: h.SecretKey})
	c.client.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	return c.client.Flush() == nil
}

// step takes a statement from the client and gives back what comes of it. False: one of the two has gone.
func (c *session) step() bool {
	var pipeline []byte
	var failure *Failure
	for {
		message, err := c.client.Receive()
		if err != nil {
			return false
		}
		switch m := message.(type) {
		case *pgproto3.Terminate:
			return false
		case *pgproto3.Query:
			return c.query(m.String)
		case *pgproto3.Parse:
			m.Query, failure = c.translate(m.Query)
		case *pgproto3.Bind:
			if len(m.Parameters) > 32767 {
				failure = &Failure{"54000", "too many parameters", ""}
			}
			for _, p := range m.Parameters {
				if len(p) > 65535 {
					failure = &Failure{"22001", "value too long for type character varying(65535)", ""}
				}
			}
		case *pgproto3.Sync:
			if failure != nil {
				return c.raise(failure)
			}
			pipeline, _ = m.Encode(pipeline)
			if _, err := c.conn.Write(pipeline); err != nil {
				return false
			}
			return c.forward()
		}
		if pipeline, err = message.(interface{ Encode([]byte) ([]byte, error) }).Encode(pipeline); err != nil {
			return false
		}
	}
}

// query runs a statement of the simple protocol.
func (c *session) query(sql string) bool {
	translated, failure := c.translate(sql)
	if failure != nil {
		return c.raise(failure)
	}
	if isCopy(sql) {
		return c.copy(sql)
	}
	c.backend.Send(&pgproto3.Query{String: translated})
	return c.backend.Flush() == nil && c.forward()
}

// raise makes PostgreSQL fail, so that its transaction does.
func (c *session) raise(f *Failure) bool {
	quoted := func(s string) string {
		return "'" + strings.NewReplacer(`\`, `\\`, `'`, `''`, "%", "%%").Replace(s) + "'"
	}
	c.backend.Send(&pgproto3.Query{String: "DO $raise$ BEGIN RAISE EXCEPTION USING ERRCODE = " + quoted(f.Code) + ", MESSAGE = " + quoted(f.Message) + ", DETAIL = " + quoted(f.Detail) + "; END $raise$"})
	return c.backend.Flush() == nil && c.forward()
}

// forward gives the client what PostgreSQL answers, until it is ready for more.
func (c *session) forward() bool {
	for {
		message, err := c.backend.Receive()
		if err != nil {
			return false
		}
		switch m := message.(type) {
		case *pgproto3.ErrorResponse:
			c.client.Send(c.spoken(m))
			continue
		case *pgproto3.ParameterStatus, *pgproto3.NoticeResponse:
			continue
		case *pgproto3.ReadyForQuery:
			c.status = m.TxStatus
			c.client.Send(m)
			return c.client.Flush() == nil
		}
		c.client.Send(message)
		if c.client.Flush() != nil {
			return false
		}
	}
}

// spoken is an error of PostgreSQL's in Redshift's words.
func (s *Server) spoken(m *pgproto3.ErrorResponse) *pgproto3.ErrorResponse {
	for _, name := range namesOf(m) {
		s.returned.Return(name)
	}
	if m.Code == "40001" {
		return &pgproto3.ErrorResponse{Severity: "ERROR", Code: "XX000", Message: "1023",
			Detail: "Serializable isolation violation on table - 125885, transactions forming the cycle are: 346317, 346318 (pid:7123)"}
	}
	return &pgproto3.ErrorResponse{Severity: m.Severity, Code: m.Code, Message: m.Message, Detail: m.Detail, ColumnName: m.ColumnName}
}

// internal runs a query of the stand-in's own in the client's session and returns its rows; an error as it came.
func (c *session) internal(sql string) (rows [][]string, failed *pgproto3.ErrorResponse, ok bool) {
	c.backend.Send(&pgproto3.Query{String: sql})
	if c.backend.Flush() != nil {
		return nil, nil, false
	}
	for {
		message, err := c.backend.Receive()
		if err != nil {
			return nil, nil, false
		}
		switch m := message.(type) {
		case *pgproto3.DataRow:
			row := make([]string, len(m.Values))
			for i, v := range m.Values {
				row[i] = string(v)
			}
			rows = append(rows, row)
		case *pgproto3.ErrorResponse:
			copied := *m
			failed = &copied
		case *pgproto3.ReadyForQuery:
			c.status = m.TxStatus
			return rows, failed, true
		}
	}
}
