package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/postgres"
	"tributary/internal/pgtest"
)

// A role gets exactly what the messages say to grant, and then can write.
func TestRights(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	admin := session(t, dsn)
	c := connection(t, dsn)
	c.User, c.Password = fmt.Sprintf("writer of %s", c.Database), "pw"
	role := `"` + c.User + `"`
	exec(t, admin, "CREATE ROLE "+role+" LOGIN PASSWORD 'pw'", "REVOKE ALL ON SCHEMA public FROM PUBLIC", "REVOKE ALL ON DATABASE "+c.Database+" FROM PUBLIC", "GRANT CONNECT ON DATABASE "+c.Database+" TO "+role)
	t.Cleanup(func() {
		if _, err := admin.Exec(context.Background(), "DROP OWNED BY "+role+" CASCADE; DROP ROLE "+role); err != nil {
			t.Error(err)
		}
	})
	obey := func(err error) {
		t.Helper()
		_, statements, found := strings.Cut(err.Error(), "administrator run: ")
		if !found {
			t.Fatalf("no advice in %v", err)
		}
		exec(t, admin, strings.Split(statements, "; ")...)
	}

	public := opened(t, c, postgres.Settings{}, connectors.Append)
	for _, d := range []connectors.Destination{public, opened(t, c, postgres.Settings{Schema: "made here"}, connectors.Append)} {
		granted := 0
		for err := connectortest.Check(t, d); err != nil; err = connectortest.Check(t, d) {
			connectortest.WantError(t, err, connectors.Forbidden, "GRANT")
			obey(err)
			if granted++; granted > 3 {
				t.Fatalf("obeyed, and still: %v", err)
			}
		}
		if granted == 0 {
			t.Fatal("the check saw no missing right")
		}
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 3))
	}

	// A table of somebody else's.
	exec(t, admin, "CREATE TABLE public.theirs (LIKE public.orders INCLUDING ALL)")
	theirs := opened(t, c, postgres.Settings{Table: "theirs"}, connectors.Append)
	obey(connectortest.Check(t, theirs))
	if err := connectortest.Check(t, theirs); err != nil {
		t.Fatal(err)
	}
	connectortest.Write(t, theirs, connectortest.Batch(connectors.Append, "orders", 3, 3))

	// Its columns can only be changed by who owns it.
	d, err := postgres.Definition().OpenDestination(connectors.Config{Settings: connectortest.JSON(t, postgres.Settings{Table: "theirs"}), Connection: connectortest.JSON(t, c), Layout: connectors.LayoutColumns, Env: connectortest.Loopback()})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 6, 0)) // makes the engine's table
	err = connectortest.Check(t, d)
	connectortest.WantError(t, err, connectors.Forbidden, "schema evolve", "OWNER TO")
	obey(err)
	if err := connectortest.Check(t, d); err != nil {
		t.Fatal(err)
	}
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 100, 1))
	exec(t, admin, "ALTER TABLE public.theirs OWNER TO "+pgx.Identifier{connection(t, dsn).User}.Sanitize(), "GRANT SELECT, INSERT, UPDATE, DELETE ON public.theirs TO "+role)

	// Without the right to create, what exists is enough.
	exec(t, admin, "REVOKE CREATE ON SCHEMA public FROM "+role)
	again := opened(t, c, postgres.Settings{Table: "theirs"}, connectors.Append)
	if err := connectortest.Check(t, again); err != nil {
		t.Fatal(err)
	}
	connectortest.Write(t, again, connectortest.Batch(connectors.Append, "orders", 6, 3))
	_, err = again.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 6, 0))
	if err != nil {
		t.Fatal(err)
	}
	_, err = opened(t, c, postgres.Settings{Table: "new"}, connectors.Append).Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 9, 3))
	connectortest.WantError(t, err, connectors.Forbidden, `GRANT USAGE, CREATE ON SCHEMA "public"`)
}

func TestTableThatDoesNotFit(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	c := connection(t, dsn)
	admin := session(t, dsn)
	exec(t, admin, `CREATE TABLE orders (_installation text, _id text, _key int, data jsonb)`)
	d := opened(t, c, postgres.Settings{}, connectors.Append)
	_, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 3))
	connectortest.WantError(t, err, connectors.Invalid, `"public"."orders"`, "_stream text is missing", "_ordinal bigint is missing", "_key is integer instead of text", "data is jsonb instead of json")
	connectortest.WantError(t, connectortest.Check(t, opened(t, c, postgres.Settings{Table: "orders"}, connectors.Append)), connectors.Invalid, "_stream text is missing")

	// One table does not serve both modes: in the other's one, rows would vanish.
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "shared", 0, 3))
	_, err = d.Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "shared", 3, 3))
	connectortest.WantError(t, err, connectors.Invalid, "is missing")
	exec(t, admin, `ALTER TABLE shared ADD _version_seen bigint NOT NULL DEFAULT 0`)
	_, err = d.Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "shared", 3, 3))
	connectortest.WantError(t, err, connectors.Invalid, "other mode")
	exec(t, admin, `DROP TABLE orders`)
	if n := len(rows(t, dsn)); n != 3 {
		t.Fatalf("%d rows, want 3", n)
	}
}

// A table made beforehand, with columns of the user's own, is used as it is.
func TestTableMadeBeforehand(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	exec(t, session(t, dsn), `CREATE TABLE orders (note text DEFAULT 'mine', _installation text, _stream text, _id text, _key text, _op text, _version bigint,
		_occurred_at timestamptz, _received_at timestamptz, _ordinal bigint, data json, a int GENERATED ALWAYS AS ((data->>'a')::int) STORED)`)
	d := opened(t, connection(t, dsn), postgres.Settings{}, connectors.Append)
	b := connectortest.Batch(connectors.Append, "orders", 0, 10)
	b.Records[4].Data = []byte(`{"a": "canary"}`)
	r, err := d.Write(t.Context(), b)
	if err != nil {
		t.Fatal(err)
	}
	// The user's column can't be computed for one record: it is rejected, the message does not quote it.
	if r.Outcomes[4] != connectors.Rejected || len(r.Reasons) != 1 || strings.Contains(r.Reasons[4], "canary") {
		t.Fatalf("outcomes %v, reasons %v", r.Outcomes, r.Reasons)
	}
	if n := len(rows(t, dsn)); n != 9 {
		t.Fatalf("%d rows, want 9", n)
	}
}

// Many that write first at once make the tables once.
func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	def, c := postgres.Definition(), connection(t, dsn)
	var group sync.WaitGroup
	for i := range 8 {
		if i%2 == 0 {
			def = postgres.Definition() // a pool of its own
		}
		d := open(t, def, c, postgres.Settings{Schema: "new schema"}, connectors.ModeUpsert)
		group.Go(func() {
			defer d.Close()
			b := connectortest.Batch(connectors.ModeUpsert, "orders", 0, 3)
			b.Epoch, b.Installation = fmt.Sprint("epoch", i), fmt.Sprint("i/", i)
			if _, err := d.Write(t.Context(), b); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	if n := len(rows(t, dsn)); n != 24 {
		t.Fatalf("%d rows, want 24", n)
	}
}

// What vanishes is made again: the first write says so and comes again.
func TestTableDropped(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	d := opened(t, connection(t, dsn), postgres.Settings{}, connectors.Append)
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 3))
	for i, name := range []string{"orders", "_tributary_ledger", "_tributary_rejected"} {
		exec(t, session(t, dsn), "DROP TABLE "+name)
		b := connectortest.Batch(connectors.Append, "orders", 3*(i+1), 3)
		if i == 2 {
			b.Records[1].Data = []byte(`nonsense`)
		}
		_, err := d.Write(t.Context(), b)
		connectortest.WantError(t, err, connectors.Unavailable, "does not exist")
		if _, err := d.Write(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(rows(t, dsn)); n != 8 {
		t.Fatalf("%d rows, want 8", n)
	}
}
