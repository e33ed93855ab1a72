package netsuitetest

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"
)

// schema has a table for each record type. Times are texts in the zone of the user.
const schema = `
CREATE TABLE dual (now TEXT);
INSERT INTO dual VALUES ('2026-03-01 04:00:00');
CREATE TABLE customer (id INTEGER PRIMARY KEY, entityid TEXT, email TEXT, isinactive TEXT, balance TEXT, lastmodifieddate TEXT);
CREATE INDEX customer_changed ON customer (lastmodifieddate, id);
CREATE TABLE "transaction" (id INTEGER PRIMARY KEY, tranid TEXT, type TEXT, entity INTEGER, foreigntotal TEXT, lastmodifieddate TEXT);
CREATE TABLE customrecord_shift (id INTEGER PRIMARY KEY, name TEXT, lastmodified TEXT);
CREATE TABLE deletedrecord (recordid INTEGER, type TEXT, scriptid TEXT, name TEXT, deleteddate TEXT);
`

// dates are columns that hold dates and times.
var dates = []string{"lastmodifieddate", "lastmodified", "deleteddate", "SYSDATE"}

func (s *Server) wall(at time.Time) string { return at.In(s.Zone).Format(time.DateTime) }

// Exec runs a statement of the engine's on the account's tables, to fill them.
func (s *Server) Exec(t testing.TB, statement string, args ...any) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.db.Exec(statement, args...); err != nil {
		t.Fatal(err)
	}
}

// AddCustomers adds customers that changed one after the other, a second apart; the last one now.
func (s *Server) AddCustomers(t testing.TB, n int) {
	t.Helper()
	if err := s.FillCustomers(n); err != nil {
		t.Fatal(err)
	}
}

// FillCustomers does what AddCustomers does, in one transaction.
func (s *Server) FillCustomers(n int) error {
	now := s.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	tx, err := s.db.Begin()
	if err != nil {
		return err
	}
	for i := range n {
		if _, err := tx.Exec(putCustomer, i+1, s.wall(now.Add(time.Duration(i+1-n)*time.Second))); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}

const putCustomer = `INSERT INTO customer VALUES (?1, 'Café <1> ' || ?1, 'a@example.com', 'F', '1.50', ?2)
	ON CONFLICT DO UPDATE SET lastmodifieddate = ?2`

// Put adds a row to a table, or changes the one with its ID, at a time.
func (s *Server) Put(t testing.TB, table string, id int64, at time.Time) {
	t.Helper()
	switch table {
	case "customer":
		s.Exec(t, putCustomer, id, s.wall(at))
	case "transaction":
		s.Exec(t, `INSERT INTO "transaction" VALUES (?1, 'SO' || ?1, 'SalesOrd', 7, '10.00', ?2)
			ON CONFLICT DO UPDATE SET lastmodifieddate = ?2`, id, s.wall(at))
	case "customrecord_shift":
		s.Exec(t, `INSERT INTO customrecord_shift VALUES (?1, 'shift', ?2) ON CONFLICT DO UPDATE SET lastmodified = ?2`, id, s.wall(at))
	default:
		t.Fatalf("no table %s", table)
	}
}

// Delete removes a row and leaves a trace in the table deletedrecord, as a record of a type.
func (s *Server) Delete(t testing.TB, table string, id int64, kind string, at time.Time) {
	t.Helper()
	s.Exec(t, `DELETE FROM "`+table+`" WHERE id = ?`, id)
	script := ""
	if strings.HasPrefix(table, "customrecord") {
		script = strings.ToUpper(table)
	}
	s.Exec(t, `INSERT INTO deletedrecord VALUES (?, ?, ?, ?, ?)`, id, kind, script, fmt.Sprint("name of ", id), s.wall(at))
}

// Keys are the IDs of a table's rows.
func (s *Server) Keys(t testing.TB, table string) (keys []string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	rows, err := s.db.Query(`SELECT id FROM "` + table + `"`)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		keys = append(keys, strconv.FormatInt(id, 10))
	}
	return keys
}
