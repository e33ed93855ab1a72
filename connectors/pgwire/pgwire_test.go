package pgwire_test

import (
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/outbound"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// An error has the kind of the longest prefix of its SQLSTATE that is known, and lies in a row or not.
func TestKinds(t *testing.T) {
	t.Parallel()
	for sqlstate, want := range map[string]struct {
		kind  connectors.Kind
		inRow bool
	}{
		"42501": {connectors.Forbidden, false}, "42P01": {connectors.Unavailable, false}, "42703": {connectors.Invalid, false}, "25006": {connectors.Unavailable, false},
		"57014": {connectors.Unavailable, false}, "28P01": {connectors.Unauthorized, false}, "3D000": {connectors.NotFound, false},
		"22P02": {connectors.Invalid, true}, "54001": {connectors.Invalid, true}, "P0001": {connectors.Invalid, true}, "XX000": {connectors.Unknown, false}, "": {connectors.Unknown, false},
	} {
		if kind, inRow := pgwire.KindOf(sqlstate), pgwire.InRow(sqlstate); kind != want.kind || inRow != want.inRow {
			t.Errorf("%q: kind %s, in a row %v", sqlstate, kind, inRow)
		}
	}
}

func TestTypes(t *testing.T) {
	t.Parallel()
	for native, want := range map[string]table.Type{
		"bigint": table.Integer, "numeric(10,2)": table.Decimal, "character varying(255)": table.Text, "timestamp(3) with time zone": table.Timestamp,
		"jsonb": table.JSON, "super": table.Other, "interval": table.Other,
	} {
		if got := pgwire.TypeOf(native, "json", "jsonb"); got != want {
			t.Errorf("%s is %s", native, got)
		}
	}
}

// Nothing but what is given makes a connection: no variable and no file of the worker's account, also where there is no user.
func TestConfig(t *testing.T) {
	for _, name := range []string{"PGHOST", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGOPTIONS", "PGAPPNAME", "PGSSLMODE"} {
		t.Setenv(name, "canary")
	}
	s := outbound.Server{Host: `h'\ `, Port: 5432, Database: "it's"}
	config, err := pgwire.Config(s, "verify-full", nil, time.Second, nil)
	if err != nil {
		t.Fatal(err)
	}
	c := config.ConnConfig
	if c.Host != s.Host || c.Database != s.Database || c.User != "" || c.Password != "" || c.RuntimeParams["options"] != "" || c.RuntimeParams["application_name"] != "tributary" || c.TLSConfig == nil {
		t.Errorf("host %q, database %q, user %q, password %q, parameters %q", c.Host, c.Database, c.User, c.Password, c.RuntimeParams)
	}
	if len(c.Fallbacks) != 0 {
		t.Errorf("%d other ways to connect", len(c.Fallbacks))
	}
}

// A missing right is advised by the operation that failed, for names of any kind.
func TestGrants(t *testing.T) {
	t.Parallel()
	g := pgwire.GrantsFor(`a"b`, "shop", "public")
	for op, want := range map[string]string{
		pgwire.CreatingSchema: `GRANT CREATE ON DATABASE "shop" TO "a""b"`, pgwire.CreatingStage: `GRANT TEMPORARY ON DATABASE "shop"`,
		"insert": `GRANT USAGE, CREATE ON SCHEMA "public" TO "a""b"; GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES`,
	} {
		if got := g.Lacking(op); !strings.Contains(got, want) {
			t.Errorf("%s: %s", op, got)
		}
	}
}
