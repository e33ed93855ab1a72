package redshift_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/redshift"
	"tributary/connectors/redshift/redshifttest"
)

// value reads one value past Redshift.
func value[T any](t *testing.T, s *redshifttest.Server, sql string) (v T) {
	t.Helper()
	session(t, s, func(ctx context.Context, conn *pgx.Conn) {
		if err := conn.QueryRow(ctx, sql).Scan(&v); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	})
	return v
}

// What SUPER holds is there without loss, what it does not is rejected with the reason, whichever way the rows go: a few as parameters, many by COPY.
func TestSuper(t *testing.T) {
	t.Parallel()
	held := map[string]string{ // what is sent, and how it stands there
		`{}`: `{}`, ` [ 1 , "a b" ] `: `[1,"a b"]`, `9223372036854775807`: `9223372036854775807`, `{"b":0.1,"a":-1.5e3}`: `{"b":0.1,"a":-1500}`,
		`{"s":"é😀\"\\\n\t","t":"<&>"}`: `{"s":"é😀\"\\\n\t","t":"<&>"}`, `"text"`: `"text"`, `true`: `true`, `{"A":1,"a":2}`: `{"A":1,"a":2}`,
		strings.Repeat("[", 900) + strings.Repeat("]", 900): strings.Repeat("[", 900) + strings.Repeat("]", 900),
	}
	refused := map[string]string{
		`123456789012345678901234567890`: "number", `{"a":0.12345678901234567890123}`: "number", `[1e400]`: "number", `1e-400`: "number", `{"a":1,"a":2}`: "two fields",
		`"\u0000"`: "NUL", `{"\ud800":1}`: "surrogate", `nonsense`: "not valid JSON", `"` + strings.Repeat("é", 33_000) + `"`: "longer than 65535",
	}
	for name, extra := range map[string]int{"few": 0, "many": 200} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			b := connectortest.Batch(connectors.Append, "orders", 0, len(held)+len(refused)+extra)
			want := make(map[int]string)
			i := 0
			for data := range held {
				b.Records[i].Data = []byte(data)
				i++
			}
			for data, reason := range refused {
				if name == "few" && len(data) > 65_535 {
					continue // would make it many
				}
				b.Records[i].Data, want[i] = []byte(data), reason
				i++
			}
			d := opened(t, block(t, connection(t, s), redshift.Settings{}, connectors.Append))
			r, err := d.Write(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range r.Outcomes {
				if reason, rejected := want[i]; rejected != (o == connectors.Rejected) || !strings.Contains(r.Reasons[i], reason) {
					t.Errorf("%.60s: outcome %d, reason %q, want %q", b.Records[i].Data, o, r.Reasons[i], reason)
				}
			}
			there := make(map[string]string)
			for _, row := range rows(t, s) {
				there[row.ID] = row.Data
			}
			for i := range len(held) {
				got := there[b.Records[i].ID]
				if name == "few" { // JSON_PARSE of the stand-in keeps spaces
					got = compact(t, got)
				}
				if want := held[string(b.Records[i].Data)]; got != want && !(name == "few" && want == `{"b":0.1,"a":-1500}`) {
					t.Errorf("%q became %q, want %q", b.Records[i].Data, got, want)
				}
			}
			if copies := len(s.Statements("COPY")); (copies > 0) != (name == "many") {
				t.Errorf("%d statements of COPY", copies)
			}
		})
	}
}

// A few rows take no file, many do; nothing of either stays in the bucket, also where the load fails.
func TestFilesAreRemoved(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := opened(t, block(t, connection(t, s), redshift.Settings{}, connectors.ModeUpsert))
	connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", 0, 100))
	if n := len(s.Statements("COPY")); n != 0 {
		t.Errorf("%d loads of few rows", n)
	}
	connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", 100, 101))
	if n := len(s.Statements("COPY", ".manifest'", "IAM_ROLE '"+redshifttest.Role+"'")); n != 1 {
		t.Errorf("%d loads of many rows", n)
	}
	s.Fail(func(sql string) *redshifttest.Failure {
		if strings.HasPrefix(sql, "COPY") {
			return &redshifttest.Failure{Code: "57014", Message: "Query (7) cancelled on user's request"}
		}
		return nil
	})
	_, err := d.Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "orders", 201, 101))
	wantError(t, err, connectors.Unavailable)
	if names := s.Objects(t); len(names) != 0 {
		t.Errorf("%q are left in the bucket", names)
	}
	s.Fail(nil)
	connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", 201, 101))
	if got := len(rows(t, s)); got != 302 {
		t.Errorf("%d rows", got)
	}
}

// A large statement goes by several files, whose names say what is in them.
func TestFilesAreSplit(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var manifest string
	var files []string
	s.Fail(func(sql string) *redshifttest.Failure {
		if strings.HasPrefix(sql, "COPY") {
			for _, name := range s.Objects(t) {
				if strings.HasSuffix(name, ".manifest") {
					manifest = name
				} else {
					files = append(files, name)
				}
			}
		}
		return nil
	})
	b := connectortest.Batch(connectors.Append, "orders", 7, 20)
	for i := range b.Records {
		b.Records[i].Data = fmt.Appendf(nil, `{"list": [%s"%d"]}`, strings.Repeat(`"`+strings.Repeat("x", 60_000)+`",`, 30), i)
	}
	c := connection(t, s)
	c.Prefix = "loads/of-tributary"
	connectortest.Write(t, opened(t, block(t, c, redshift.Settings{}, connectors.Append)), b)
	if len(files) != 3 || manifest == "" {
		t.Fatalf("%q and %q", files, manifest)
	}
	for _, name := range append(files, manifest) {
		if !strings.HasPrefix(name, "loads/of-tributary/") || !strings.Contains(name, "/00000000000000000007-") {
			t.Errorf("a file has the name %q", name)
		}
	}
	if got := len(rows(t, s)); got != 20 {
		t.Errorf("%d rows", got)
	}
}

// What Redshift has against a row rejects that row only, at the cost of one more load, and no reason quotes it.
func TestRowsRefusedByALoad(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.RefuseLines("poison", 1216)
	d := opened(t, block(t, connection(t, s), redshift.Settings{}, connectors.ModeUpsert))
	b := connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1_000)
	b.Records[617].Data = []byte(`{"poison": 1}`)
	b.Records[617].Key, b.Records[5].Key = "both", "both" // the older change of the key still counts
	for range 2 {
		r, err := d.Write(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range r.Outcomes {
			if (o == connectors.Rejected) != (i == 617) || o == connectors.Again {
				t.Fatalf("record %d: outcome %d, %s", i, o, r.Reasons[i])
			}
		}
		if reason := r.Reasons[617]; !strings.Contains(reason, `"data"`) || !strings.Contains(reason, "1216") || strings.Contains(reason, "poison") {
			t.Errorf("the reason is %q", reason)
		}
	}
	if n := len(s.Statements("COPY")); n != 2 {
		t.Errorf("%d loads, want 2", n)
	}
	if got := len(rows(t, s)); got != 999 {
		t.Errorf("%d rows", got)
	}
}

// Whatever COPY has against a row, the reason has its code and nothing of the row.
func TestLoadErrors(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := opened(t, block(t, connection(t, s), redshift.Settings{}, connectors.Append))
	for i, code := range []int{1204, 1206, 1207, 1210, 1216, 1224} {
		s.RefuseLines("canary-", code)
		b := connectortest.Batch(connectors.Append, "orders", 150*i, 150)
		b.Records[17].Data = []byte(`{"secret": "canary-"}`)
		r, err := d.Write(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for n, o := range r.Outcomes {
			if (o == connectors.Rejected) != (n == 17) || o == connectors.Again {
				t.Fatalf("code %d: record %d: outcome %d, %s", code, n, o, r.Reasons[n])
			}
		}
		if reason := r.Reasons[17]; !strings.Contains(reason, strconv.Itoa(code)) || strings.Contains(reason, "canary-") {
			t.Errorf("code %d: the reason is %q", code, reason)
		}
	}
}

// A value that a column of the operator's refuses rejects its record only; what would refuse every row stops the lane and says so.
func TestRowsRefusedByAColumn(t *testing.T) {
	t.Parallel()
	for name, n := range map[string]int{"few": 20, "many": 150} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			c := block(t, connection(t, s), redshift.Settings{}, connectors.ModeUpsert)
			c.Layout = connectors.LayoutColumns
			d := opened(t, c)
			connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1))
			s.Exec(t, "ALTER TABLE orders ADD COLUMN small smallint", "ALTER TABLE orders ADD COLUMN short varchar(3)", "ALTER TABLE orders ADD COLUMN day date", "ALTER TABLE orders ADD COLUMN note varchar(20) DEFAULT 'mine'")
			b := connectortest.Batch(connectors.ModeUpsert, "orders", 1, n)
			for i := range b.Records {
				b.Records[i].Data = []byte(`{"a":1,"small":7,"short":"abc","day":"2026-11-01"}`)
			}
			b.Records[3].Data = []byte(`{"small":70000}`)
			b.Records[4].Data = []byte(`{"short":"canary-long"}`)
			b.Records[5].Data = []byte(`{"day":"canary-day"}`)
			r, err := d.Write(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range r.Outcomes {
				if (o == connectors.Rejected) != (i >= 3 && i <= 5) || strings.Contains(r.Reasons[i], canary) {
					t.Errorf("record %d: outcome %d, %q", i, o, r.Reasons[i])
				}
			}
			// A column of hers that nothing fills stays as it is when the row changes.
			again := connectortest.Batch(connectors.ModeUpsert, "orders", n+1, 1)
			again.Records[0].Key = "key1"
			connectortest.Write(t, d, again)
			if note := value[string](t, s, "SELECT note FROM orders WHERE _key = 'key1'"); note != "mine" {
				t.Errorf("her column has %q", note)
			}
			s.Exec(t, "ALTER TABLE orders ADD COLUMN _needed int", "UPDATE orders SET _needed = 1", "ALTER TABLE orders ALTER _needed SET NOT NULL")
			_, err = d.Write(t.Context(), connectortest.Batch(connectors.ModeUpsert, "orders", n+2, 5))
			wantError(t, err, connectors.Invalid, "NOT NULL")
		})
	}
}

// A value that is longer than a VARCHAR goes to quarantine alone, and one that is as long does not.
func TestLongValues(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := block(t, connection(t, s), redshift.Settings{JSON: "text"}, connectors.Append)
	c.Layout = connectors.LayoutColumns
	list := func(n int) []byte { return []byte(`{"list":["` + strings.Repeat("x", n-4) + `"]}`) }
	for name, extra := range map[string]int{"few": 0, "many": 150} {
		b := connectortest.Batch(connectors.Append, "orders", 0, 3+extra)
		b.Lane, b.Epoch, b.Installation = name, name, name
		b.Records[0].Data, b.Records[1].Data = list(65_535), list(65_536)
		b.Records[2].Stream, b.Records[2].Data = strings.Repeat("s", 1025), nil
		r, err := opened(t, c).Write(t.Context(), b)
		if err != nil {
			t.Fatal(err)
		}
		for i, o := range r.Outcomes {
			if (o == connectors.Rejected) != (i == 1 || i == 2) {
				t.Errorf("%s: record %d: outcome %d, %s", name, i, o, r.Reasons[i])
			}
		}
		if !strings.Contains(r.Reasons[1], "65535 bytes") || !strings.Contains(r.Reasons[2], "stream") {
			t.Errorf("the reasons are %v", r.Reasons)
		}
	}
	b := connectortest.Batch(connectors.Append, "orders", 0, 1)
	b.Installation = strings.Repeat("i", 1025)
	_, err := opened(t, c).Write(t.Context(), b)
	wantError(t, err, connectors.Invalid, "1024 bytes")
	// Beyond a row of a file there is no way.
	raw := opened(t, block(t, connection(t, s), redshift.Settings{Table: "raw"}, connectors.Append))
	b = connectortest.Batch(connectors.Append, "orders", 0, 2)
	b.Records[0].Data, b.Records[1].Data = []byte(`[`+strings.Repeat(`"`+strings.Repeat("x", 60_000)+`",`, 67)+`1]`), []byte(`[`+strings.Repeat(`"`+strings.Repeat("x", 60_000)+`",`, 70)+`1]`)
	r, err := raw.Write(t.Context(), b)
	if err != nil || r.Outcomes[0] != connectors.Durable || r.Outcomes[1] != connectors.Rejected {
		t.Errorf("outcomes %v, %v, %v", r.Outcomes, r.Reasons, err)
	}
}

// Columns are added one a statement, and a table that the operator dropped is made anew.
func TestColumnsAreAddedOneByOne(t *testing.T) {
	t.Parallel()
	s := serve(t)
	c := block(t, connection(t, s), redshift.Settings{Schema: "Sales", Table: "All_{stream}"}, connectors.Append)
	c.Layout = connectors.LayoutColumns
	d := opened(t, c)
	b := connectortest.Batch(connectors.Append, "Orders", 0, 1)
	b.Records[0].Data = []byte(`{"Email":"a","email":"b","total":12345678901234567890,"price":0.10,"paid":true,"n":1,"tags":["x"]}`)
	connectortest.Write(t, d, b)
	if n := len(s.Statements(`ALTER TABLE "sales"."all_orders" ADD COLUMN`)); n != 7 {
		t.Errorf("%d columns were added", n)
	}
	types := value[string](t, s, `SELECT string_agg(attname || ' ' || format_type(atttypid, atttypmod), ', ' ORDER BY attnum) FROM pg_attribute
		WHERE attrelid = 'sales.all_orders'::regclass AND attnum > 11 AND attname !~ '^email_'`)
	const text = "character varying(65535)"
	if types != "total numeric(38,18), price numeric(38,18), paid boolean, n bigint, tags super" && types != "email "+text+", total numeric(38,18), price numeric(38,18), paid boolean, n bigint, tags super" {
		t.Errorf("the columns are %s", types)
	}
	if create := s.Statements("CREATE TABLE", "all_orders"); len(create) != 1 || !strings.Contains(create[0], "DISTKEY (_identity) COMPOUND SORTKEY (_received_at)") {
		t.Errorf("it was made by %q", create)
	}
	s.Exec(t, "DROP TABLE sales.all_orders")
	next := connectortest.Batch(connectors.Append, "Orders", 1, 1)
	next.Records[0].Data = b.Records[0].Data
	_, err := d.Write(t.Context(), next)
	if err != nil { // found missing in the middle: the next attempt makes it
		var e *connectors.Error
		if !errors.As(err, &e) || e.Kind != connectors.Unavailable {
			t.Fatal(err)
		}
		connectortest.Write(t, d, next)
	}
	if got := len(columnRows(t, s)); got != 1 {
		t.Errorf("%d rows", got)
	}
}

func compact(t *testing.T, data string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(data)); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
