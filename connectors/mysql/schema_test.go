package mysql_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/mysql"
)

// A user gets exactly what the messages say to grant, and then can write. The check changes nothing.
func TestRights(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		admin := session(t, rawURL)
		c := connection(t, rawURL)
		c.User, c.Password = "w"+c.Database[len(c.Database)-20:], "pw"
		exec(t, admin, "CREATE USER "+c.User+" IDENTIFIED BY 'pw'", "GRANT SELECT ON "+c.Database+".* TO "+c.User)
		t.Cleanup(func() { _ = query(t, session(t, rawURL), "DROP USER "+c.User) })
		obey := func(err error) {
			t.Helper()
			connectortest.WantError(t, err, connectors.Forbidden, "GRANT")
			_, statement, _ := strings.Cut(err.Error(), "administrator run: ")
			exec(t, admin, statement)
		}
		columns, err := f.define().OpenDestination(connectors.Config{Connection: connectortest.JSON(t, c), Layout: connectors.LayoutColumns, Env: connectortest.Loopback()})
		if err != nil {
			t.Fatal(err)
		}
		defer columns.Close()
		obey(connectortest.Check(t, columns))
		if err := connectortest.Check(t, columns); err != nil {
			t.Fatal(err)
		}
		if there := query(t, admin, "SHOW TABLES"); len(there) > 0 {
			t.Fatalf("the check made %v", there)
		}
		connectortest.Write(t, columns, connectortest.Batch(connectors.Append, "orders", 0, 300))

		// With rights to the rows alone, what is there is enough, by INSERT: there is no right to temporary tables.
		connectortest.Write(t, opened(t, f.define(), c, mysql.Settings{Table: "plain"}, connectors.ModeUpsert), connectortest.Batch(connectors.ModeUpsert, "plain", 400, 1))
		exec(t, admin, "REVOKE ALL ON "+strings.ReplaceAll(quote(c.Database), "_", `\_`)+".* FROM "+c.User, "REVOKE SELECT ON "+c.Database+".* FROM "+c.User,
			"GRANT SELECT, INSERT, UPDATE, DELETE ON "+c.Database+".* TO "+c.User)
		plain := opened(t, f.define(), c, mysql.Settings{Table: "plain"}, connectors.ModeUpsert)
		if err := connectortest.Check(t, plain); err != nil {
			t.Fatal(err)
		}
		connectortest.Write(t, plain, connectortest.Batch(connectors.ModeUpsert, "plain", 401, 300))
		connectortest.WantError(t, connectortest.Check(t, opened(t, f.define(), c, mysql.Settings{Table: "fresh"}, connectors.Append)), connectors.Forbidden, "CREATE")
		evolving := openColumns(t, f.define(), c, connectors.Append, connectors.Evolve)
		defer evolving.Close()
		_, err = evolving.Write(t.Context(), ofPayloads(connectors.Append, 1000, `{"fresh":1}`))
		connectortest.WantError(t, err, connectors.Forbidden, "GRANT")

		exec(t, admin, "REVOKE INSERT ON "+c.Database+".* FROM "+c.User)
		connectortest.WantError(t, connectortest.Check(t, opened(t, f.define(), c, mysql.Settings{Table: "plain"}, connectors.ModeUpsert)), connectors.Forbidden, "INSERT", "GRANT")
	})
}

func TestTableThatDoesNotFit(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		c := connection(t, rawURL)
		admin := session(t, rawURL)
		exec(t, admin, "CREATE TABLE orders (_installation text, _id text, _key int, data blob)")
		d := opened(t, f.define(), c, mysql.Settings{}, connectors.Append)
		_, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 3))
		connectortest.WantError(t, err, connectors.Invalid, "`orders`", "_stream varchar(1000) is missing", "_key is int instead of varchar(512)", "data is blob instead of longtext")
		connectortest.WantError(t, connectortest.Check(t, opened(t, f.define(), c, mysql.Settings{Table: "orders"}, connectors.Append)), connectors.Invalid, "_stream varchar(1000) is missing")

		// One table does not serve both modes: in the other's one, rows would vanish.
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "shared", 0, 3))
		_, err = d.Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "shared", 3, 3))
		connectortest.WantError(t, err, connectors.Invalid, "other mode")
		// Without transactions the ledger and the rows would part.
		exec(t, admin, "CREATE TABLE slow LIKE shared", "ALTER TABLE slow DROP KEY _tributary_key, ENGINE = MyISAM")
		_, err = d.Write(t.Context(), connectortest.Batch(connectors.Append, "slow", 3, 3))
		connectortest.WantError(t, err, connectors.Invalid, "InnoDB")
		exec(t, admin, "CREATE VIEW seen AS SELECT * FROM shared")
		_, err = d.Write(t.Context(), connectortest.Batch(connectors.Append, "seen", 3, 3))
		connectortest.WantError(t, err, connectors.Invalid, "VIEW")
		// Keys would be taken for one another.
		exec(t, admin, "CREATE TABLE folding LIKE shared", "ALTER TABLE folding MODIFY _id varchar(512) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL")
		_, err = d.Write(t.Context(), connectortest.Batch(connectors.Append, "folding", 3, 3))
		connectortest.WantError(t, err, connectors.Invalid, "column _id has the collation utf8mb4_general_ci")
	})
}

// A table without its unique key gets it, and one whose rows break it is refused.
func TestTableWithoutKey(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		admin := session(t, rawURL)
		d := opened(t, f.define(), connection(t, rawURL), mysql.Settings{}, connectors.Append)
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "made", 0, 3))
		for _, name := range []string{"bare", "doubled"} {
			exec(t, admin, "CREATE TABLE "+name+" LIKE made", "ALTER TABLE "+name+" DROP KEY _tributary_key, ADD COLUMN note varchar(10) DEFAULT 'mine'")
		}
		b := connectortest.Batch(connectors.Append, "bare", 3, 200)
		connectortest.Write(t, d, b)
		b.Epoch = "another"
		connectortest.Write(t, d, b)
		if n := one(t, admin, "SELECT count(*) FROM bare WHERE note = 'mine'"); n != "200" {
			t.Errorf("%s rows, want 200", n)
		}
		exec(t, admin, "INSERT INTO doubled SELECT * FROM bare", "INSERT INTO doubled SELECT 1000 + _row, "+strings.Join(metadata[1:8], ", ")+", _occurred_at, _received_at, _ordinal, data, note FROM bare LIMIT 1")
		_, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "doubled", 300, 1))
		connectortest.WantError(t, err, connectors.Invalid, "several rows of one key")
	})
}

// Many that write first at once make the tables once.
func TestCreateAtOnce(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		def, c := f.define(), connection(t, rawURL)
		var group sync.WaitGroup
		for i := range 8 {
			if i%2 == 0 {
				def = f.define() // a pool of its own
			}
			d := open(t, def, c, mysql.Settings{}, connectors.ModeUpsert)
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
		if n := len(rows(t, rawURL)); n != 24 {
			t.Fatalf("%d rows, want 24", n)
		}
	})
}

// What vanishes is made again: the first write says so and comes again.
func TestTableDropped(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		rawURL := f.database(t)
		d := opened(t, f.define(), connection(t, rawURL), mysql.Settings{}, connectors.Append)
		connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 3))
		for i, name := range []string{"orders", "_tributary_ledger"} {
			exec(t, session(t, rawURL), "DROP TABLE "+name)
			b := connectortest.Batch(connectors.Append, "orders", 3*(i+1), 3)
			_, err := d.Write(t.Context(), b)
			connectortest.WantError(t, err, connectors.Unavailable, "doesn't exist", "made again")
			connectortest.Write(t, d, b)
		}
		if n := len(rows(t, rawURL)); n != 6 {
			t.Fatalf("%d rows, want 6", n)
		}
	})
}

// Keys differ by case, accents and blanks at their end, and are as long as they may be.
func TestKeysAreBytes(t *testing.T) {
	t.Parallel()
	eachFlavour(t, func(t *testing.T, f flavour) {
		for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
			rawURL := f.database(t)
			d := opened(t, f.define(), connection(t, rawURL), mysql.Settings{}, mode)
			keys := []string{"a", "A", "a ", "a  ", " a", "\ta", "ä", "á", "a\u0301", "ß", "ss", strings.Repeat("k", 512), strings.Repeat("k", 511) + "K", strings.Repeat("😀", 128), strings.Repeat("😀", 127) + "😁", "\x01", `a\`, "a\\\t", `\N`}
			b := connectortest.Batch(mode, "orders", 0, len(keys))
			b.Installation = strings.Repeat("i", 60) + "/" + strings.Repeat("u", 900)
			for i, k := range keys {
				b.Records[i].ID, b.Records[i].Key = k, k
			}
			connectortest.Write(t, d, b)
			b.Epoch = "another"
			connectortest.Write(t, d, b)
			if n := len(rows(t, rawURL)); n != len(keys) {
				t.Errorf("%s: %d rows, want %d", mode, n, len(keys))
			}
			for _, k := range keys[:3] {
				if n := one(t, session(t, rawURL), "SELECT count(*) FROM orders WHERE _key = '"+k+"'"); n != "1" {
					t.Errorf("%s: %s rows have the key %q", mode, n, k)
				}
			}
		}
	})
}
