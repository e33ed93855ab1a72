package snowflake_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/amazon/amazontest"
	"tributary/connectors/connectortest"
	"tributary/connectors/connectortest/fault"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

const (
	lakeKey = "AKIATRIBUTARYLAKE000"
	lakeSAS = "sv=2024-11-04&sp=cwdl&sig=" + canary
)

// lakeOn mounts a bucket of a cloud and returns what leads to it.
func lakeOn(t testing.TB, s *snowflaketest.Server, cloud string) (*snowflaketest.Lake, snowflake.Connection, snowflake.Settings) {
	t.Helper()
	var l *snowflaketest.Lake
	var way snowflake.Storage
	switch cloud {
	case "s3":
		l = snowflaketest.ServeS3(t, lakeKey, canary)
		way = snowflake.Storage{StageRegion: amazontest.Region, Credentials: amazon.Credentials{AccessKeyID: lakeKey, SecretAccessKey: canary}}
	case "gcs":
		l, way.ServiceAccountKey = snowflaketest.ServeGoogle(t)
	case "azure":
		l, way.AzureSASToken = snowflaketest.ServeAzure(t, lakeSAS), lakeSAS
	}
	s.Mount(l)
	way.StageURL, way.StageEndpoint = l.URL, l.Endpoint
	c, settings := direct(s), warehouse
	c.Storage, settings.Stage = way, snowflaketest.External
	return l, c, settings
}

var clouds = []string{"s3", "gcs", "azure"}

// Files of an external stage are put into its bucket, below the stage's folder, and none is left there.
func TestExternalStages(t *testing.T) {
	t.Parallel()
	for _, cloud := range clouds {
		t.Run(cloud, func(t *testing.T) {
			t.Parallel()
			for _, mode := range []connectors.Mode{connectors.Append, connectors.ModeUpsert} {
				s := snowflaketest.New(t, &returned)
				l, c, settings := lakeOn(t, s, cloud)
				d := openedWith(t, c, settings, connectors.Config{Mode: mode})
				if err := d.(connectors.Checker).Check(t.Context()); err != nil {
					t.Fatal(err)
				}
				if names := l.Names(); len(names) != 0 {
					t.Errorf("a check leaves %q", names)
				}
				var mu sync.Mutex
				var during []string
				s.Befall(func(call string) fault.Fault {
					mu.Lock()
					defer mu.Unlock()
					switch call {
					case "PUT", "upload", "REMOVE":
						t.Errorf("an external stage is told to %s", call)
					case "COPY":
						during = l.Names()
					}
					return fault.None
				})
				b := connectortest.Batch(mode, "orders", 0, 100)
				connectortest.Write(t, d, b)
				connectortest.Write(t, d, b)
				wantOnce(t, s, cloud, b)
				mu.Lock()
				if len(during) != 1 || !strings.HasPrefix(during[0], snowflaketest.LakeFolder+"tributary/") || !strings.Contains(during[0], "/0-100-") {
					t.Errorf("while it is copied there is %q", during)
				}
				mu.Unlock()
				if names := l.Names(); len(names) != 0 {
					t.Errorf("%q are left", names)
				}
			}
		})
	}
}

// What a failed attempt has put into the bucket is removed; where that fails, the lane's next one does it.
func TestExternalStageIsCleaned(t *testing.T) {
	t.Parallel()
	for _, cut := range []bool{false, true} {
		s := snowflaketest.New(t, &returned)
		l, c, settings := lakeOn(t, s, "s3")
		d := openedWith(t, c, settings, connectors.Config{})
		b := connectortest.Batch(connectors.Append, "orders", 0, 10)
		s.Answer(func(statement string) *snowflaketest.Error {
			if strings.HasPrefix(statement, "MERGE") {
				return &snowflaketest.Error{Code: "370001", State: "XX000", Message: canary}
			}
			return nil
		})
		failed := false
		s.Befall(func(call string) fault.Fault {
			if call == "ROLLBACK" {
				failed = true
			}
			if call == "lake" && failed && cut {
				return fault.Lost
			}
			return fault.None
		})
		_, err := d.Write(t.Context(), b)
		connectortest.WantError(t, err, connectors.Unavailable)
		s.Befall(nil)
		s.Answer(nil)
		if names := l.Names(); (len(names) != 0) != cut {
			t.Errorf("after the failure there is %q", names)
		}
		connectortest.Write(t, d, b)
		wantOnce(t, s, "after the failure", b)
		if names := l.Names(); len(names) != 0 {
			t.Errorf("%q are left", names)
		}
	}
}

// What is missing at the bucket or the stage is found by Check and by Write, with what to do; no secret is told.
func TestExternalStageRefusals(t *testing.T) {
	t.Parallel()
	type change = func(t *testing.T, s *snowflaketest.Server, l *snowflaketest.Lake, c *snowflake.Connection, settings *snowflake.Settings)
	for _, test := range []struct {
		name, cloud string
		change      change
		kind        connectors.Kind
		says        string
		checkOnly   bool
	}{
		{"wrong secret", "s3", func(_ *testing.T, _ *snowflaketest.Server, _ *snowflaketest.Lake, c *snowflake.Connection, _ *snowflake.Settings) {
			c.SecretAccessKey = canary + "x"
		}, connectors.Unauthorized, "SignatureDoesNotMatch", false},
		{"key of nobody", "s3", func(_ *testing.T, _ *snowflaketest.Server, _ *snowflaketest.Lake, c *snowflake.Connection, _ *snowflake.Settings) {
			c.AccessKeyID = "AKIANOBODY"
		}, connectors.Unauthorized, "InvalidAccessKeyId", false},
		{"role that can't be assumed", "s3", func(_ *testing.T, _ *snowflaketest.Server, _ *snowflaketest.Lake, c *snowflake.Connection, _ *snowflake.Settings) {
			c.RoleARN = "arn:aws:iam::123456789012:role/loads"
		}, connectors.Unauthorized, "trust policy", false},
		{"no right to put", "s3", func(_ *testing.T, _ *snowflaketest.Server, l *snowflaketest.Lake, _ *snowflake.Connection, _ *snowflake.Settings) {
			l.Deny("PUT")
		}, connectors.Forbidden, `"arn:aws:s3:::lake/loads/tributary/*"`, false},
		{"no right to delete", "s3", func(_ *testing.T, _ *snowflaketest.Server, l *snowflaketest.Lake, _ *snowflake.Connection, _ *snowflake.Settings) {
			l.Deny("DELETE")
		}, connectors.Forbidden, "s3:DeleteObject", true},
		{"no right to list", "s3", func(_ *testing.T, _ *snowflaketest.Server, l *snowflaketest.Lake, _ *snowflake.Connection, _ *snowflake.Settings) {
			l.Deny("GET")
		}, connectors.Forbidden, "s3:ListBucket", true},
		{"key of another account", "gcs", func(t *testing.T, _ *snowflaketest.Server, _ *snowflaketest.Lake, c *snowflake.Connection, _ *snowflake.Settings) {
			c.ServiceAccountKey = strangersKey(t, c.ServiceAccountKey)
		}, connectors.Unauthorized, "make a new one", false},
		{"no right to put", "gcs", func(_ *testing.T, _ *snowflaketest.Server, l *snowflaketest.Lake, _ *snowflake.Connection, _ *snowflake.Settings) {
			l.Deny("POST")
		}, connectors.Forbidden, "roles/storage.objectUser", false},
		{"another signature", "azure", func(_ *testing.T, _ *snowflaketest.Server, _ *snowflaketest.Lake, c *snowflake.Connection, _ *snowflake.Settings) {
			c.AzureSASToken += "x"
		}, connectors.Unauthorized, "AuthenticationFailed", false},
		{"no right to put", "azure", func(_ *testing.T, _ *snowflaketest.Server, l *snowflaketest.Lake, _ *snowflake.Connection, _ *snowflake.Settings) {
			l.Deny("PUT")
		}, connectors.Forbidden, "sp=cwdl", false},
		{"stage of another bucket", "s3", func(_ *testing.T, _ *snowflaketest.Server, _ *snowflaketest.Lake, c *snowflake.Connection, _ *snowflake.Settings) {
			c.StageURL = "s3://another/"
		}, connectors.Invalid, "points to another place", false},
		{"internal stage", "s3", func(_ *testing.T, _ *snowflaketest.Server, _ *snowflaketest.Lake, _ *snowflake.Connection, settings *snowflake.Settings) {
			settings.Stage = snowflaketest.Stage
		}, connectors.Invalid, "is internal", false},
		{"no stage", "s3", func(_ *testing.T, _ *snowflaketest.Server, _ *snowflaketest.Lake, _ *snowflake.Connection, settings *snowflake.Settings) {
			settings.Stage = "NOTHING"
		}, connectors.NotFound, "does not exist", false},
		{"no right to the stage", "s3", func(_ *testing.T, s *snowflaketest.Server, _ *snowflaketest.Lake, _ *snowflake.Connection, _ *snowflake.Settings) {
			s.Deny("USAGE ON STAGE")
		}, connectors.Forbidden, "GRANT USAGE ON STAGE", false},
	} {
		t.Run(test.cloud+" "+test.name, func(t *testing.T) {
			t.Parallel()
			s := snowflaketest.New(t, &returned)
			l, c, settings := lakeOn(t, s, test.cloud)
			test.change(t, s, l, &c, &settings)
			d := openedWith(t, c, settings, connectors.Config{})
			err := d.(connectors.Checker).Check(t.Context())
			connectortest.WantError(t, err, test.kind, test.says)
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%q tells a secret", err)
			}
			_, err = d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 3))
			if test.checkOnly {
				if err != nil {
					t.Error(err)
				}
				return
			}
			connectortest.WantError(t, err, test.kind, test.says)
			if strings.Contains(err.Error(), canary) {
				t.Errorf("%q tells a secret", err)
			}
			if n := len(rows(t, s)); n != 0 {
				t.Errorf("%d rows are there", n)
			}
		})
	}
}

// strangersKey is a key file with another private key.
func strangersKey(t *testing.T, file string) string {
	t.Helper()
	var fields map[string]string
	if err := json.Unmarshal([]byte(file), &fields); err != nil {
		t.Fatal(err)
	}
	fields["private_key"] = newKeyText(t)
	return string(connectortest.JSON(t, fields))
}

// A stage that is pointed elsewhere, while a worker knows it, is looked at again instead of being filled for ever.
func TestExternalStageThatMoves(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	_, c, settings := lakeOn(t, s, "s3")
	d := openedWith(t, c, settings, connectors.Config{})
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 2))
	moved, _, _ := lakeOn(t, s, "gcs")
	_, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 2, 2))
	connectortest.WantError(t, err, connectors.Unavailable, "not on the stage")
	_, err = d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 2, 2))
	connectortest.WantError(t, err, connectors.Invalid, "points to another place")
	if names := moved.Names(); len(names) != 0 {
		t.Errorf("%q are there", names)
	}
}

// What of a bucket does not go together is refused when it is opened.
func TestExternalStageConnections(t *testing.T) {
	t.Parallel()
	key := amazon.Credentials{AccessKeyID: lakeKey, SecretAccessKey: canary}
	good := snowflake.Storage{StageURL: "s3://lake/loads/", StageRegion: "eu-central-1", Credentials: key}
	for name, test := range map[string]struct {
		change func(s *snowflake.Storage, settings *snowflake.Settings)
		want   string
	}{
		"":                            {func(*snowflake.Storage, *snowflake.Settings) {}, ""},
		"path without slash":          {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageURL = "s3://lake/loads" }, ""},
		"no path":                     {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageURL = "s3://lake" }, ""},
		"no stage":                    {func(_ *snowflake.Storage, s *snowflake.Settings) { s.Stage = "" }, "name that stage"},
		"credentials alone":           {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageURL = "" }, "stage_url"},
		"another protocol":            {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageURL = "file:///etc/" }, "DESC STAGE"},
		"a query":                     {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageURL = "s3://lake?endpoint=x" }, "DESC STAGE"},
		"a host of no Azure":          {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageURL = "azure://evil.example.com/lake/" }, "DESC STAGE"},
		"no region":                   {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageRegion = "" }, "stage_region"},
		"half a key":                  {func(s *snowflake.Storage, _ *snowflake.Settings) { s.SecretAccessKey = "" }, "belong together"},
		"compatible, nowhere":         {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageURL = "s3compat://lake/" }, "stage_endpoint"},
		"endpoint inside":             {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageEndpoint = "https://169.254.169.254" }, "inside the network"},
		"Google by a key of Amazon's": {func(s *snowflake.Storage, _ *snowflake.Settings) { s.StageURL = "gcs://lake/" }, "service_account_key"},
		"Azure by a key of Amazon's": {func(s *snowflake.Storage, _ *snowflake.Settings) {
			s.StageURL = "azure://acmelake.blob.core.windows.net/lake/"
		}, "azure_sas_token"},
		"two clouds": {func(s *snowflake.Storage, _ *snowflake.Settings) { s.AzureSASToken = lakeSAS }, "azure://"},
		"a key that is none": {func(s *snowflake.Storage, _ *snowflake.Settings) {
			*s = snowflake.Storage{StageURL: "gcs://lake/", ServiceAccountKey: `{"type":"authorized_user"}`}
		}, "service account"},
		"tokens from inside": {func(s *snowflake.Storage, _ *snowflake.Settings) {
			*s = snowflake.Storage{StageURL: "gcs://lake/", ServiceAccountKey: fmt.Sprintf(`{"type":"service_account","private_key":%q,"token_uri":"http://169.254.169.254/"}`, newKeyText(t))}
		}, "token_uri"},
	} {
		storage, settings := good, warehouse
		settings.Stage = snowflaketest.External
		test.change(&storage, &settings)
		c := snowflake.Connection{Account: snowflaketest.Account, User: snowflaketest.User, Password: canary, Storage: storage}
		d, err := snowflake.Definition().OpenDestination(connectors.Config{Settings: connectortest.JSON(t, settings), Connection: connectortest.JSON(t, c)})
		if err == nil {
			if test.want != "" {
				t.Errorf("%s: it opens", name)
			}
			if err := d.Close(); err != nil {
				t.Error(err)
			}
			continue
		}
		if test.want == "" {
			t.Errorf("%s: %v", name, err)
			continue
		}
		connectortest.WantError(t, err, connectors.Invalid, test.want)
		if strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %q tells a secret", name, err)
		}
	}
	// A user's connection never stands for who the worker is.
	ambient := good
	ambient.Credentials = amazon.Credentials{Ambient: true}
	settings := warehouse
	settings.Stage = snowflaketest.External
	c := snowflake.Connection{Account: snowflaketest.Account, User: snowflaketest.User, Password: canary, Storage: ambient}
	_, err := snowflake.Definition().OpenDestination(connectors.Config{Settings: connectortest.JSON(t, settings), Connection: connectortest.JSON(t, c)})
	connectortest.WantError(t, err, connectors.Invalid, "operator")
}
