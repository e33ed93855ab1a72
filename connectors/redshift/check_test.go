package redshift_test

import (
	"fmt"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/redshift"
	"tributary/connectors/redshift/redshifttest"
)

// A check proves everything that a write needs, and changes nothing.
func TestCheckChangesNothing(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for _, layout := range []string{connectors.LayoutRaw, connectors.LayoutColumns} {
		c := block(t, connection(t, s), redshift.Settings{Schema: "crm"}, connectors.ModeUpsert)
		c.Layout = layout
		if err := connectortest.Check(t, opened(t, c)); err != nil {
			t.Fatal(err)
		}
	}
	if n := value[int](t, s, "SELECT count(*) FROM pg_class WHERE relname ~ 'tributary' OR relname ~ 'crm'"); n != 0 {
		t.Errorf("%d tables were made", n)
	}
	if n := value[int](t, s, "SELECT count(*) FROM pg_namespace WHERE nspname = 'crm'"); n != 0 {
		t.Error("the schema was made")
	}
	if names := s.Objects(t); len(names) != 0 {
		t.Errorf("%q are left in the bucket", names)
	}
}

// Each thing that is missing is found, and the message says what to grant.
func TestCheckSaysWhatToGrant(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change   func(t *testing.T, s *redshifttest.Server, c *redshift.Connection)
		settings redshift.Settings
		layout   string
		kind     connectors.Kind
		says     []string
	}{
		"role is not attached": {kind: connectors.Forbidden, says: []string{"attach the role", "redshift.amazonaws.com"}, change: func(_ *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			s.AttachRole(redshifttest.Role, false)
		}},
		"no default role": {kind: connectors.Forbidden, says: []string{"attach the role"}, change: func(_ *testing.T, _ *redshifttest.Server, c *redshift.Connection) { c.IAMRole = "default" }},
		"role may not read": {kind: connectors.Forbidden, says: []string{"s3:GetObject", "s3:ListBucket", "arn:aws:s3:::loads/tributary/*"}, change: func(_ *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			s.Deny("role", true)
		}},
		"key may not write": {kind: connectors.Forbidden, says: []string{"s3:PutObject", "s3:DeleteObject", "arn:aws:s3:::loads/tributary/*"}, change: func(_ *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			s.Deny("key", true)
		}},
		"no bucket":        {kind: connectors.NotFound, says: []string{`"nowhere"`}, change: func(_ *testing.T, _ *redshifttest.Server, c *redshift.Connection) { c.Bucket = "nowhere" }},
		"wrong secret key": {kind: connectors.Unauthorized, says: []string{"secret access key"}, change: func(_ *testing.T, _ *redshifttest.Server, c *redshift.Connection) { c.SecretAccessKey = canary }},
		"unknown key":      {kind: connectors.Unauthorized, says: []string{"access key is not known"}, change: func(_ *testing.T, _ *redshifttest.Server, c *redshift.Connection) { c.AccessKeyID = "AKIAUNKNOWN" }},
		"no temporary tables": {kind: connectors.Forbidden, says: []string{`GRANT TEMPORARY ON DATABASE "warehouse" TO "ada"`}, change: func(t *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			s.RevokeTemporary(t)
		}},
		"another user's schema": {kind: connectors.Forbidden, says: []string{`GRANT USAGE, CREATE ON SCHEMA "hers" TO "ada"`}, settings: redshift.Settings{Schema: "hers"}, change: func(t *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			s.Exec(t, "CREATE SCHEMA hers")
		}},
		"schema that may be used only": {kind: connectors.Forbidden, says: []string{`GRANT USAGE, CREATE ON SCHEMA "hers" TO "ada"`}, settings: redshift.Settings{Schema: "hers"}, change: func(t *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			s.Exec(t, "CREATE SCHEMA hers", "GRANT USAGE ON SCHEMA hers TO PUBLIC")
		}},
		"user who may make nothing": {kind: connectors.Forbidden, says: []string{`GRANT CREATE ON DATABASE "warehouse" TO "bob"`}, settings: redshift.Settings{Schema: "crm"}, change: func(t *testing.T, s *redshifttest.Server, c *redshift.Connection) {
			s.CreateUser(t, "bob", password)
			c.User = "bob"
		}},
		"table of another's": {kind: connectors.Forbidden, says: []string{`ALTER TABLE "public"."orders" OWNER TO "bob"`}, settings: redshift.Settings{Table: "orders"}, layout: connectors.LayoutColumns, change: func(t *testing.T, s *redshifttest.Server, c *redshift.Connection) {
			connectortest.Write(t, opened(t, columnsOf(t, s)), connectortest.Batch(connectors.Append, "orders", 0, 1))
			s.CreateUser(t, "bob", password)
			s.Exec(t, "GRANT ALL ON ALL TABLES IN SCHEMA public TO PUBLIC")
			c.User = "bob"
		}},
		"table that may be read only": {kind: connectors.Forbidden, says: []string{"GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES"}, settings: redshift.Settings{Table: "orders"}, change: func(t *testing.T, s *redshifttest.Server, c *redshift.Connection) {
			connectortest.Write(t, opened(t, block(t, connection(t, s), redshift.Settings{}, connectors.Append)), connectortest.Batch(connectors.Append, "orders", 0, 1))
			s.CreateUser(t, "bob", password)
			s.Exec(t, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO PUBLIC")
			c.User = "bob"
		}},
		"table of another shape": {kind: connectors.Invalid, says: []string{"does not fit", "column _identity", "column _stream is integer"}, settings: redshift.Settings{Table: "orders"}, change: func(t *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			s.Exec(t, "CREATE TABLE orders (id int, _stream int)")
		}},
		"table of the other mode": {kind: connectors.Invalid, says: []string{"other mode"}, settings: redshift.Settings{Table: "orders"}, change: func(t *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			connectortest.Write(t, opened(t, block(t, connection(t, s), redshift.Settings{}, connectors.ModeUpsert)), connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1))
		}},
		"table with text for SUPER": {kind: connectors.Invalid, says: []string{"set json: text"}, settings: redshift.Settings{Table: "orders"}, change: func(t *testing.T, s *redshifttest.Server, _ *redshift.Connection) {
			connectortest.Write(t, opened(t, block(t, connection(t, s), redshift.Settings{JSON: "text"}, connectors.Append)), connectortest.Batch(connectors.Append, "orders", 0, 1))
		}},
		"PostgreSQL": {kind: connectors.Invalid, says: []string{"no Amazon Redshift"}, change: func(_ *testing.T, s *redshifttest.Server, c *redshift.Connection) {
			s.SetVersion("PostgreSQL 15.3")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			c := connection(t, s)
			test.change(t, s, &c)
			cfg := block(t, c, test.settings, connectors.Append)
			cfg.Layout = test.layout
			wantError(t, connectortest.Check(t, opened(t, cfg)), test.kind, test.says...)
		})
	}
}

func columnsOf(t *testing.T, s *redshifttest.Server) connectors.Config {
	c := block(t, connection(t, s), redshift.Settings{}, connectors.Append)
	c.Layout = connectors.LayoutColumns
	return c
}

// The role by which the bucket is written is assumed with the external ID.
func TestRole(t *testing.T) {
	t.Parallel()
	const role = "arn:aws:iam::123456789012:role/tributary"
	s := serve(t)
	s.CreateRole(role, "for-tributary")
	c := connection(t, s)
	c.RoleARN, c.ExternalID = role, "for-tributary"
	connectortest.Write(t, opened(t, block(t, c, redshift.Settings{}, connectors.Append)), connectortest.Batch(connectors.Append, "orders", 0, 200))
	// The cluster's default role reads as well as one that is named.
	s.AttachRole("default", true)
	c.IAMRole = "default"
	d := opened(t, block(t, c, redshift.Settings{}, connectors.Append))
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 200, 200))
	if err := connectortest.Check(t, d); err != nil {
		t.Error(err)
	}
	c.ExternalID = "of-another"
	_, err := opened(t, block(t, c, redshift.Settings{}, connectors.Append)).Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 400, 200))
	wantError(t, err, connectors.Unauthorized, "trust policy", "external ID")
}

// A password that was changed takes effect with the connection that has it; destinations of one connection share a pool, of another they do not.
func TestRotatedPassword(t *testing.T) {
	t.Parallel()
	s, def := serve(t), redshift.Definition()
	old := connection(t, s)
	connectortest.Write(t, open2(t, def, block(t, old, redshift.Settings{}, connectors.Append)), connectortest.Batch(connectors.Append, "orders", 0, 1))
	s.SetPassword(redshifttest.User, canary+"rotated")
	rotated := old
	rotated.Password = canary + "rotated"
	connectortest.Write(t, open2(t, def, block(t, rotated, redshift.Settings{}, connectors.Append)), connectortest.Batch(connectors.Append, "orders", 1, 1))
	_, err := opened(t, block(t, old, redshift.Settings{}, connectors.Append)).Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 2, 1))
	wantError(t, err, connectors.Unauthorized)
}

func open2(t *testing.T, def connectors.Definition, c connectors.Config) connectors.Destination {
	t.Helper()
	d := open(t, def, c)
	t.Cleanup(func() { d.Close() })
	return d
}

// Incomplete connections, and those that would call where they must not, are refused when they are opened.
func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	s := serve(t)
	with := func(change func(c *redshift.Connection)) redshift.Connection {
		c := connection(t, s)
		c.Endpoint = ""
		change(&c)
		return c
	}
	for says, connection := range map[string]redshift.Connection{
		"host":               with(func(c *redshift.Connection) { c.Host = "warehouse.example.com:5439/dev" }),
		"port":               with(func(c *redshift.Connection) { c.Port = 70_000 }),
		"database":           with(func(c *redshift.Connection) { c.Database = "" }),
		"user":               with(func(c *redshift.Connection) { c.User = "" }),
		"sslmode":            with(func(c *redshift.Connection) { c.SSLMode = "maybe" }),
		"sslrootcert needs":  with(func(c *redshift.Connection) { c.SSLRootCert = "x" }),
		"bucket":             with(func(c *redshift.Connection) { c.Bucket = "a'b" }),
		"prefix":             with(func(c *redshift.Connection) { c.Prefix = "a'b" }),
		"region":             with(func(c *redshift.Connection) { c.Region = "eu'" }),
		"iam_role":           with(func(c *redshift.Connection) { c.IAMRole = redshifttest.Role + "' CREDENTIALS '" }),
		"belong together":    with(func(c *redshift.Connection) { c.AccessKeyID = "" }),
		"operator's":         with(func(c *redshift.Connection) { c.AccessKeyID, c.SecretAccessKey, c.Ambient = "", "", true }),
		"external_id":        with(func(c *redshift.Connection) { c.ExternalID = "x" }),
		"inside the network": with(func(c *redshift.Connection) { c.Endpoint = "https://169.254.169.254" }),
		"a host alone":       with(func(c *redshift.Connection) { c.Endpoint = "https://example.com/x" }),
	} {
		d, err := redshift.Definition().OpenDestination(connectors.Config{Connection: connectortest.JSON(t, connection)})
		if err == nil {
			d.Close()
			t.Errorf("%s: opens", says)
			continue
		}
		wantError(t, err, connectors.Invalid, says)
	}
	for says, c := range map[string]connectors.Config{
		"schema":  {Settings: connectortest.JSON(t, redshift.Settings{Schema: `a"b`})},
		"pg_":     {Settings: connectortest.JSON(t, redshift.Settings{Schema: "pg_x"})},
		"json":    {Settings: connectortest.JSON(t, redshift.Settings{JSON: "jsonb"})},
		"taken":   {Settings: connectortest.JSON(t, redshift.Settings{Table: "_tributary_x"})},
		"layout":  {Layout: "rows"},
		"unknown": {Settings: connectortest.JSON(t, map[string]string{"dataset": "x"})},
	} {
		c.Connection = connectortest.JSON(t, with(func(*redshift.Connection) {}))
		_, err := redshift.Definition().OpenDestination(c)
		wantError(t, err, connectors.Invalid, says)
	}
	chain := with(func(c *redshift.Connection) { c.IAMRole = redshifttest.Role + ",arn:aws:iam::210987654321:role/loads" })
	d, err := redshift.Definition().OpenDestination(connectors.Config{Connection: connectortest.JSON(t, chain)})
	if err != nil {
		t.Fatal(err)
	}
	d.Close()
}

// Every error of Redshift's has its kind (I9), wherever it strikes, and repeats neither a row nor a secret (I7).
func TestErrors(t *testing.T) {
	t.Parallel()
	s := serve(t)
	d := opened(t, block(t, connection(t, s), redshift.Settings{}, connectors.ModeUpsert))
	connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", 0, 1))
	next := 1
	for name, test := range map[string]struct {
		failure redshifttest.Failure
		on      []string
		kind    connectors.Kind
		says    string
	}{
		"serialization":  {redshifttest.Failure{Code: "XX000", Message: "1023", Detail: "Serializable isolation violation on table - 1"}, []string{"UPDATE", "COMMIT", "LOCK"}, connectors.Unavailable, "1023"},
		"snapshot":       {redshifttest.Failure{Code: "40001", Message: "could not serialize access due to concurrent update"}, []string{"UPDATE", "COMMIT"}, connectors.Unavailable, "1023"},
		"deadlock":       {redshifttest.Failure{Code: "40P01", Message: "deadlock detected"}, []string{"LOCK", "UPDATE"}, connectors.Unavailable, "another order"},
		"cancelled":      {redshifttest.Failure{Code: "57014", Message: "Query (1) cancelled by WLM abort action of Query Monitoring Rule \"canary-\""}, []string{"COPY", "UPDATE", "CREATE TEMP"}, connectors.Unavailable, "time limit"},
		"disk":           {redshifttest.Failure{Code: "XX000", Message: "Disk Full", Detail: "node: 1"}, []string{"COPY", "INSERT INTO \"public\""}, connectors.Unavailable, "no room"},
		"memory":         {redshifttest.Failure{Code: "53200", Message: "out of memory canary-"}, []string{"UPDATE"}, connectors.Unavailable, "no room"},
		"read only":      {redshifttest.Failure{Code: "25006", Message: "transaction is read-only"}, []string{"UPDATE", "CREATE TEMP"}, connectors.Unavailable, "25006"},
		"shutdown":       {redshifttest.Failure{Code: "57P01", Message: "terminating connection"}, []string{"LOCK"}, connectors.Unavailable, "57P01"},
		"rights":         {redshifttest.Failure{Code: "42501", Message: "permission denied for relation orders"}, []string{"UPDATE \"public\".\"orders\"", "INSERT INTO \"public\""}, connectors.Forbidden, "GRANT SELECT, INSERT"},
		"corpus":         {redshifttest.Failure{Code: "42501", Message: "permission denied for relation corpus"}, []string{"UPDATE \"public\".\"orders\""}, connectors.Forbidden, "GRANT SELECT, INSERT"},
		"usage limit":    {redshifttest.Failure{Code: "XX000", Message: "Query reached usage limit", Detail: "RPU-hours of the workgroup"}, []string{"UPDATE"}, connectors.Unavailable, "usage limit"},
		"temporary":      {redshifttest.Failure{Code: "42501", Message: "permission denied to create temporary tables"}, []string{"CREATE TEMP"}, connectors.Forbidden, "GRANT TEMPORARY"},
		"role":           {redshifttest.Failure{Code: "XX000", Message: "User arn:aws:redshift:eu-central-1:1:dbuser:x/ada is not authorized to assume IAM Role arn:aws:iam::1:role/x"}, []string{"COPY"}, connectors.Forbidden, "attach the role"},
		"role elsewhere": {redshifttest.Failure{Code: "XX000", Message: "exception name : UnauthorizedException, error type : 138, message: The requested role arn:aws:iam::1:role/x is not associated to cluster"}, []string{"COPY"}, connectors.Forbidden, "attach the role"},
		"bucket rights":  {redshifttest.Failure{Code: "XX000", Message: "S3ServiceException:Access Denied,Status 403,Error AccessDenied,Rid canary-,ExtRid x,CanRetry 1"}, []string{"COPY"}, connectors.Forbidden, "s3:GetObject"},
		"file gone":      {redshifttest.Failure{Code: "XX000", Message: "S3ServiceException:The specified key does not exist.,Status 404,Error NoSuchKey,Rid x"}, []string{"COPY"}, connectors.Unavailable, "another attempt"},
		"prefix gone":    {redshifttest.Failure{Code: "XX000", Message: "The specified S3 prefix 'canary-' does not exist"}, []string{"COPY"}, connectors.Unavailable, "another attempt"},
		"bucket gone":    {redshifttest.Failure{Code: "XX000", Message: "S3ServiceException:The specified bucket does not exist,Status 404,Error NoSuchBucket,Rid x"}, []string{"COPY"}, connectors.NotFound, "no bucket"},
		"region":         {redshifttest.Failure{Code: "XX000", Message: "S3ServiceException:The bucket you are attempting to access must be addressed using the specified endpoint.,Status 301,Error PermanentRedirect,Rid x"}, []string{"COPY"}, connectors.Invalid, "another region"},
		"slow down":      {redshifttest.Failure{Code: "XX000", Message: "S3ServiceException:Please reduce your request rate.,Status 503,Error SlowDown,Rid x"}, []string{"COPY"}, connectors.RateLimited, "SlowDown"},
		"S3 failed":      {redshifttest.Failure{Code: "XX000", Message: "S3ServiceException:We encountered an internal error.,Status 500,Error InternalError,Rid x"}, []string{"COPY"}, connectors.Unavailable, "InternalError"},
		"feature":        {redshifttest.Failure{Code: "0A000", Message: "canary- is not supported"}, []string{"UPDATE"}, connectors.Invalid, "0A000"},
		"no schema":      {redshifttest.Failure{Code: "3F000", Message: "schema does not exist"}, []string{"UPDATE"}, connectors.NotFound, "3F000"},
		"syntax":         {redshifttest.Failure{Code: "42601", Message: "syntax error"}, []string{"UPDATE"}, connectors.Invalid, "42601"},
		"no column":      {redshifttest.Failure{Code: "42703", Message: "column does not exist"}, []string{"UPDATE"}, connectors.Invalid, "42703"},
		"no type":        {redshifttest.Failure{Code: "42704", Message: "type does not exist"}, []string{"CREATE TEMP"}, connectors.Invalid, "42704"},
		"no function":    {redshifttest.Failure{Code: "42883", Message: "function does not exist"}, []string{"UPDATE"}, connectors.Invalid, "42883"},
		"table gone":     {redshifttest.Failure{Code: "42P01", Message: "relation does not exist"}, []string{"UPDATE"}, connectors.Unavailable, "42P01"},
		"connections":    {redshifttest.Failure{Code: "53300", Message: "too many connections"}, []string{"LOCK"}, connectors.Unavailable, "no more connections"},
		"too large":      {redshifttest.Failure{Code: "54000", Message: "statement is too large"}, []string{"LOCK"}, connectors.Invalid, "54000"},
		"nobody knows":   {redshifttest.Failure{Code: "XX000", Message: "Assert canary-"}, []string{"COPY", "UPDATE", "COMMIT"}, connectors.Unknown, "XX000"},
	} {
		for _, on := range test.on {
			s.Fail(func(sql string) *redshifttest.Failure {
				if strings.HasPrefix(sql, on) {
					return &test.failure
				}
				return nil
			})
			b := connectortest.Batch(connectors.ModeUpsert, "orders", next, 150)
			b.Records[7].Data = []byte(`{"secret":"canary-payload"}`)
			r, err := d.Write(t.Context(), b)
			t.Run(fmt.Sprintf("%s at %s", name, on), func(t *testing.T) {
				wantError(t, err, test.kind, test.says)
				if r.Outcomes[0] != connectors.Again {
					t.Errorf("outcome %d", r.Outcomes[0])
				}
			})
		}
	}
	s.Fail(nil)
	connectortest.Write(t, d, connectortest.Batch(connectors.ModeUpsert, "orders", next, 150))
	if names := s.Objects(t); len(names) != 0 {
		t.Errorf("%q are left in the bucket", names)
	}
	// Nothing secret was in a statement.
	for _, sql := range s.Statements() {
		if strings.Contains(sql, canary) {
			t.Errorf("a statement tells a secret or a payload: %s", sql)
		}
	}
}
