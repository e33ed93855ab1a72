package snowflake_test

import (
	"errors"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/snowflake/snowflaketest"
)

// secret stands in the message of each error that is asked for.
const secret = "the value of a row"

// Each error has its kind (I9), and what it says of a row is not repeated (I7). Afterwards the batch goes in, once.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	next := 0
	for _, test := range []struct {
		statement string
		want      map[connectors.Kind]string // codes and SQLSTATEs
	}{
		{"login", map[connectors.Kind]string{
			connectors.Unauthorized: "390100/08004 390113/08001 390114/08004 390144/08001 390195/08001 390303/08001 390318/08001 394300/08001 399999/08001",
			connectors.Forbidden:    "390420/08001 390422/08001",
			connectors.NotFound:     "390189/08001 390201/08004",
		}},
		{"MERGE", map[connectors.Kind]string{
			connectors.Unavailable: "000604/57014 000625/57014 000630/57014 390111/08003 390113/08001 390114/08003 390115/08001 370001/XX000 300002/XX000 002003/42S02 000904/42000 123456/40001 123456/53000 123456/XX000",
			connectors.Forbidden:   "003001/42501 123456/42501 000666/57014",
			connectors.NotFound:    "000606/57P03",
			connectors.RateLimited: "090073/22000",
			connectors.Invalid:     "001003/42000 100090/42P18 123456/42601 123456/0A000",
			connectors.Unknown:     "123456/99999",
		}},
		{"COPY", map[connectors.Kind]string{connectors.Unavailable: "370001/XX000 100016/22000 100069/22P02", connectors.Forbidden: "003001/42501"}},
		{"PUT", map[connectors.Kind]string{connectors.NotFound: "002003/02000", connectors.Forbidden: "003001/42501", connectors.Invalid: "002235/42601", connectors.Unavailable: "370001/XX000"}},
		{"COMMIT", map[connectors.Kind]string{connectors.Unavailable: "000625/57014"}},
		{"BEGIN", map[connectors.Kind]string{connectors.Unavailable: "370001/XX000"}},
		{"CREATE TABLE", map[connectors.Kind]string{connectors.Forbidden: "003001/42501"}},
	} {
		for kind, list := range test.want {
			for _, one := range strings.Fields(list) {
				code, state, _ := strings.Cut(one, "/")
				b := connectortest.Batch(connectors.Append, "orders", next, 2)
				if test.statement == "CREATE TABLE" {
					for i := range b.Records {
						b.Records[i].Stream = "others"
					}
				}
				next += 2
				d := opened(t, s, connectors.Append)
				s.Answer(func(statement string) *snowflaketest.Error {
					if strings.HasPrefix(statement, test.statement) {
						return &snowflaketest.Error{Code: code, State: state, Message: secret + " " + canary}
					}
					return nil
				})
				_, err := d.Write(t.Context(), b)
				s.Answer(nil)
				var e *connectors.Error
				if !errors.As(err, &e) || e.Kind != kind {
					t.Errorf("%s of %s: got %v, want kind %s", one, test.statement, err, kind)
				} else if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), canary) || !strings.Contains(err.Error(), code) {
					t.Errorf("%s of %s: the message is %q", one, test.statement, err)
				}
				connectortest.UntilDurable(t, d, b)
			}
		}
	}
	if n := len(rows(t, s)); n != next {
		t.Fatalf("there are %d rows, want %d", n, next)
	}
}

// A value that a column of the operator's does not take sends its record alone to quarantine, also when it comes again (I4).
func TestRowErrors(t *testing.T) {
	t.Parallel()
	for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
		s := snowflaketest.New(t, &returned)
		d := openedWith(t, direct(s), warehouse, connectors.Config{Mode: mode, Layout: connectors.LayoutColumns})
		connectortest.Write(t, d, connectortest.Batch(mode, "orders", 0, 1))
		for column, kind := range map[string]string{"small": "NUMBER(3,0)", "short": "VARCHAR(3)", "day": "DATE", "ratio": "FLOAT", "at": "TIMESTAMP_LTZ"} {
			s.AddColumn(t, "orders", column, kind)
		}
		b := connectortest.Batch(mode, "orders", 1, 20)
		bad := map[int]string{3: `{"small": 12345}`, 7: `{"short": "canary"}`, 12: `{"day": "canary"}`}
		for i, data := range bad {
			b.Records[i].Data = []byte(data)
		}
		b.Records[5].Data = []byte(`{"small": 123, "short": "abc", "day": "2026-11-01", "ratio": 1.5, "at": "2026-11-01T12:00:00+02:00"}`)
		for range 2 {
			r, err := d.Write(t.Context(), b)
			if err != nil {
				t.Fatal(err)
			}
			for i, o := range r.Outcomes {
				_, refused := bad[i]
				if refused != (o == connectors.Rejected) || strings.Contains(r.Reasons[i], "canary") || strings.Contains(r.Reasons[i], "12345") || refused != strings.Contains(r.Reasons[i], "100") {
					t.Fatalf("record %d: outcome %d, %q", i, o, r.Reasons[i])
				}
			}
		}
		if n := len(rows(t, s)); n != 18 {
			t.Errorf("there are %d rows, want 18", n)
		}
		s.Read(t, "small", func(_ string, row map[string]*string) {
			if text(row["small"]) == "123" && (text(row["short"]) != "abc" || text(row["day"]) != "2026-11-01" || text(row["at"]) != "2026-11-01T10:00:00Z") {
				t.Errorf("the row is %v", row)
			}
		})
	}
}

// Check says what is missing, and what to grant.
func TestCheck(t *testing.T) {
	t.Parallel()
	named := warehouse
	named.Table = "orders"
	for _, test := range []struct {
		deny   string
		config connectors.Config
		want   string
	}{
		{"INSERT", connectors.Config{}, `GRANT INSERT ON TABLE "ANALYTICS"."CRM"."_tributary_ledger" TO ROLE LOADER`},
		{"UPDATE", connectors.Config{Mode: connectors.ModeUpsert}, "GRANT UPDATE ON TABLE"},
		{"OWNERSHIP", connectors.Config{Layout: connectors.LayoutColumns}, `GRANT OWNERSHIP ON TABLE "ANALYTICS"."CRM"."orders"`},
	} {
		s := snowflaketest.New(t, &returned)
		c := direct(s)
		c.Role = snowflaketest.Role
		d := openedWith(t, c, named, test.config)
		mode := test.config.Mode
		if mode == "" {
			mode = connectors.Append
		}
		check := func() error { return d.(connectors.Checker).Check(t.Context()) }
		if err := check(); err != nil {
			t.Fatal(err)
		}
		connectortest.Write(t, d, connectortest.Batch(mode, "orders", 0, 1))
		if err := check(); err != nil {
			t.Fatal(err)
		}
		s.Deny(test.deny)
		err := check()
		connectortest.WantError(t, err, connectors.Forbidden, test.want)
	}
	// A schema that is not there is made, where the role may.
	s := snowflaketest.New(t, &returned)
	fresh := warehouse
	fresh.Schema = "fresh"
	d := openedWith(t, direct(s), fresh, connectors.Config{})
	if err := d.(connectors.Checker).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 1))
	// PUT can't write to an external stage.
	lake := warehouse
	lake.Stage = snowflaketest.External
	_, err := openedWith(t, direct(s), lake, connectors.Config{}).Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 1))
	connectortest.WantError(t, err, connectors.Invalid, "external")
	loads := warehouse
	loads.Stage = "@" + strings.ToLower(snowflaketest.Database+"."+snowflaketest.Schema+"."+snowflaketest.Stage)
	connectortest.Write(t, openedWith(t, direct(s), loads, connectors.Config{}), connectortest.Batch(connectors.Append, "orders", 10, 1))
}
