package redshifttest

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

func connect(t *testing.T, s *Server, password string) (*pgx.Conn, error) {
	t.Helper()
	config, err := pgx.ParseConfig("postgres://" + User + "@" + s.Address + "/" + Database + "?sslmode=disable")
	if err != nil {
		t.Fatal(err)
	}
	config.Password, config.DefaultQueryExecMode = password, pgx.QueryExecModeExec
	conn, err := pgx.ConnectConfig(t.Context(), config)
	if err == nil {
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
	}
	return conn, err
}

func code(err error) string {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// What PostgreSQL does and Redshift does not is refused, in both protocols.
func TestRefusals(t *testing.T) {
	t.Parallel()
	s := New(t, "AKIA", "secret", "password", nil)
	if _, err := connect(t, s, "wrong"); code(err) != "28000" {
		t.Errorf("a wrong password: %v", err)
	}
	conn, err := connect(t, s, "password")
	if err != nil {
		t.Fatal(err)
	}
	exec := func(sql string, args ...any) error {
		_, err := conn.Exec(t.Context(), sql, args...)
		return err
	}
	if err := exec(`CREATE TABLE "Orders" ("Id" bigint NOT NULL, name varchar(10), data super, PRIMARY KEY (id)) DISTSTYLE KEY DISTKEY (id) COMPOUND SORTKEY (name)`); err != nil {
		t.Fatal(err)
	}
	for sql, want := range map[string]string{
		`INSERT INTO orders (id) VALUES (1) ON CONFLICT DO NOTHING`:             "42601",
		`INSERT INTO orders (id) VALUES (1) RETURNING id`:                       "42601",
		`CREATE UNIQUE INDEX ON orders (id)`:                                    "0A000",
		`SELECT id FROM orders FOR UPDATE`:                                      "0A000",
		`ALTER TABLE orders ADD COLUMN a bigint, ADD COLUMN b bigint`:           "42601",
		`ALTER TABLE orders ADD COLUMN IF NOT EXISTS a bigint`:                  "42601",
		`ALTER TABLE orders ALTER COLUMN id TYPE numeric`:                       "0A000",
		`CREATE TABLE t (a jsonb)`:                                              "42704",
		`CREATE TABLE t (a super) DISTSTYLE KEY DISTKEY (a)`:                    "42703",
		`CREATE TEMP TABLE t (a bigint) ON COMMIT DROP`:                         "42601",
		`SELECT * FROM unnest($1::bigint[])`:                                    "42883",
		`SELECT E'a'`:                                                           "42704",
		`LOCK orders IN SHARE MODE`:                                             "42601",
		`SET standard_conforming_strings TO on`:                                 "42704",
		`COPY "orders" (id) FROM 's3://loads/x' IAM_ROLE default MANIFEST`:      "0A000",
		`COPY "orders" (id) FROM STDIN`:                                         "42601",
		`SELECT a.attname FROM pg_attribute a JOIN "public"."orders" o ON TRUE`: "0A000",
	} {
		var args []any
		if strings.Contains(sql, "$1") {
			args = append(args, "{1}")
		}
		if err := exec(sql, args...); code(err) != want {
			t.Errorf("%s: got %v, want %s", sql, err, want)
		}
	}
	for range 2 { // keys are not enforced, names are folded
		if err := exec(`INSERT INTO "ORDERS" ("ID", name, data) VALUES ($1, $2, JSON_PARSE($3))`, "1", `back\slash`, `{"a":1}`); err != nil {
			t.Fatal(err)
		}
	}
	var n int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM orders WHERE name = 'back\\slash'`).Scan(&n); err != nil || n != 2 { // a backslash escapes
		t.Errorf("%d rows, %v", n, err)
	}
	if err := exec(`INSERT INTO orders (id, name) VALUES ($1, $2)`, "1", strings.Repeat("x", 65_536)); code(err) != "22001" {
		t.Errorf("a long parameter: %v", err)
	}
	if conn.PgConn().ParameterStatus("standard_conforming_strings") != "" {
		t.Error("the server tells of a parameter that Redshift has not")
	}
}

// A transaction whose statement was refused is over, as it is when PostgreSQL itself refuses one.
func TestRefusalsEndTransactions(t *testing.T) {
	t.Parallel()
	s := New(t, "AKIA", "secret", "password", nil)
	conn, err := connect(t, s, "password")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "BEGIN"); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1 FROM pg_class FOR UPDATE"); code(err) != "0A000" {
		t.Fatal(err)
	}
	if _, err := conn.Exec(t.Context(), "SELECT 1"); code(err) != "25P02" {
		t.Errorf("got %v, want that the transaction is aborted", err)
	}
}

// What SUPER does not hold exactly is lost or refused, so that a test sees it.
func TestSuper(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		` { "b" : 1 , "a" : [ 1.50 , null , "é" ] } `: `{"b":1,"a":[1.5,null,"é"]}`, `9223372036854775807`: `9223372036854775807`, `123456789012345678901`: `1.2345678901234568e+20`,
		`{"a":1,"a":2}`: "", `1e400`: "", `"` + strings.Repeat("x", 65_536) + `"`: "", `{`: "", `1 2`: "", `"\u0000"`: "",
	} {
		got, problem := parseSuper([]byte(raw))
		if got != want || (want == "") != (problem != "") {
			t.Errorf("%.40s became %q (%s), want %q", raw, got, problem, want)
		}
	}
}
