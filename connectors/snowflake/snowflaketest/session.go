package snowflaketest

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// sessionState is what a session has in the engine.
type sessionState struct {
	conn         *sql.Conn
	abortOnError bool

	mu      sync.Mutex // one statement at a time
	temps   map[string]*stored
	tx      string // ID of the open transaction
	failed  bool   // a statement of the transaction has
	writing bool   // the session has the writer's lock, and a transaction in the engine

	since time.Time // of the last statement's end
}

func (s *Server) open(role, warehouse string) (*session, error) {
	conn, err := s.db.Conn(context.Background())
	if err != nil {
		return nil, err
	}
	id := s.number()
	return &session{
		state: sessionState{conn: conn, temps: make(map[string]*stored)}, id: id, token: "session-" + itoa(id), master: "master-" + itoa(id), role: role, warehouse: warehouse,
	}, nil
}

// end ends a session: what is open in it is rolled back.
func (s *Server) end(session *session) {
	session.state.mu.Lock()
	defer session.state.mu.Unlock()
	s.finish(session, "ROLLBACK")
	_ = session.state.conn.Close()
}

// finish ends the transaction in the engine, if there is one, and lets others write.
func (s *Server) finish(session *session, how string) error {
	st := &session.state
	st.tx, st.failed = "", false
	if !st.writing {
		return nil
	}
	_, err := st.conn.ExecContext(context.Background(), how)
	if err != nil && how != "ROLLBACK" {
		_, _ = st.conn.ExecContext(context.Background(), "ROLLBACK")
	}
	st.writing = false
	s.writer.release()
	return err
}

// writerLock is held by who writes, until the end of the transaction.
type writerLock struct {
	free    chan struct{}
	mu      sync.Mutex
	holder  *session
	waiters int
	// idle is how long a transaction may do nothing while another waits for it; five minutes at Snowflake:
	// https://docs.snowflake.com/en/sql-reference/transactions#aborting-transactions
	idle time.Duration
}

// maxWaiters is how many statements may wait for a lock.
const maxWaiters = 20

func (l *writerLock) release() {
	l.mu.Lock()
	l.holder = nil
	l.mu.Unlock()
	l.free <- struct{}{}
}

// write sees to it that the session has the writer's lock and a transaction in the engine.
func (s *Server) write(ctx context.Context, session *session) *Error {
	st := &session.state
	if st.writing {
		return nil
	}
	l := &s.writer
	l.mu.Lock()
	if l.waiters >= maxWaiters {
		l.mu.Unlock()
		return fail(tooManyWaiters, "Statement has locked table in transaction and this lock has not yet been released. Your statement was aborted because the number of waiters for this lock exceeds the %d statement limit.", maxWaiters)
	}
	l.waiters++
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		l.waiters--
		l.mu.Unlock()
	}()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return fail(cancelled, "SQL execution canceled")
		case <-l.free:
			l.mu.Lock()
			l.holder = session
			l.mu.Unlock()
			if _, err := st.conn.ExecContext(context.Background(), "BEGIN TRANSACTION"); err != nil {
				l.release()
				return fail(internalError, "%v", err)
			}
			st.writing = true
			return nil
		case <-tick.C:
			s.endIdle()
		}
	}
}

// endIdle rolls a transaction back that is in the way and idle.
func (s *Server) endIdle() {
	l := &s.writer
	l.mu.Lock()
	holder := l.holder
	l.mu.Unlock()
	if holder == nil || !holder.state.mu.TryLock() {
		return // it is at work
	}
	defer holder.state.mu.Unlock()
	if holder.state.writing && time.Since(holder.state.since) > l.idle {
		_ = s.finish(holder, "ROLLBACK")
	}
}

// EndTransactions rolls back what is open in all sessions, as an administrator may by SYSTEM$ABORT_TRANSACTION. The sessions go on.
func (s *Server) EndTransactions() {
	s.mu.Lock()
	var all []*session
	for _, session := range s.sessions {
		all = append(all, session)
	}
	s.mu.Unlock()
	for _, session := range all {
		session.state.mu.Lock()
		_ = s.finish(session, "ROLLBACK")
		session.state.mu.Unlock()
	}
}

// Hold keeps everybody from writing until release is called.
func (s *Server) Hold() (release func()) {
	<-s.writer.free
	return func() { s.writer.free <- struct{}{} }
}

// Waiting counts the statements that wait to write.
func (s *Server) Waiting() int {
	s.writer.mu.Lock()
	defer s.writer.mu.Unlock()
	return s.writer.waiters
}
