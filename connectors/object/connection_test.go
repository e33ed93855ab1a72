package object

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/object/objecttest"
)

func tryOpen(t *testing.T, def connectors.Definition, settings, connection any, env connectors.Env) error {
	t.Helper()
	return tryOpenAs(t, true, def, settings, connection, env)
}

func tryOpenAs(t *testing.T, operator bool, def connectors.Definition, settings, connection any, env connectors.Env) error {
	t.Helper()
	d, err := def.OpenDestination(connectors.Config{Settings: raw(t, settings), Connection: raw(t, connection), Operator: operator, Env: env})
	if err == nil {
		err = d.Close()
	}
	return err
}

// TestAUserIsNotTheWorker proves that only a connection of the operator may use the worker's own credentials.
func TestAUserIsNotTheWorker(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		def        connectors.Definition
		connection any
	}{
		{S3(), S3Connection{Bucket: bucket, Region: "eu-central-1", Credentials: amazon.Credentials{Ambient: true}}},
		{GCS(), GCSConnection{Bucket: bucket, Ambient: true}},
	} {
		if err := tryOpenAs(t, true, test.def, Settings{}, test.connection, connectors.Env{}); err != nil {
			t.Errorf("%s, the operator's: %v", test.def.Name, err)
		}
		if err := tryOpenAs(t, false, test.def, Settings{}, test.connection, connectors.Env{}); err == nil || !strings.Contains(err.Error(), "operator") {
			t.Errorf("%s, a user's: %v", test.def.Name, err)
		}
	}
}

// TestConnections proves which connections are refused when they are opened, without a request: incomplete ones, and those that would send the worker's
// own credentials, or a request at all, where a user says (I14).
func TestConnections(t *testing.T) {
	t.Parallel()
	key := S3Connection{Bucket: bucket, Region: "eu-central-1", Credentials: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: canary}}
	with := func(change func(c *S3Connection)) S3Connection {
		c := key
		change(&c)
		return c
	}
	file := objecttest.KeyFile(objecttest.ServiceKey(), "https://oauth2.googleapis.com/token")
	public := connectors.Env{}
	for name, test := range map[string]struct {
		def        connectors.Definition
		connection any
		env        connectors.Env
		want       string // part of the message, "" = opens
	}{
		"s3: key":                      {S3(), key, public, ""},
		"s3: key for a role":           {S3(), with(func(c *S3Connection) { c.RoleARN, c.ExternalID = "arn:aws:iam::123456789012:role/x", "1" }), public, ""},
		"s3: temporary key":            {S3(), with(func(c *S3Connection) { c.SessionToken = canary }), public, ""},
		"s3: compatible store":         {S3(), with(func(c *S3Connection) { c.Region, c.Endpoint = "", "https://storage.example.com" }), public, ""},
		"s3: nothing":                  {S3(), S3Connection{Bucket: bucket}, public, "ambient: true"},
		"s3: half a key":               {S3(), with(func(c *S3Connection) { c.AccessKeyID = "" }), public, "belong together"},
		"s3: key and ambient":          {S3(), with(func(c *S3Connection) { c.Ambient = true }), public, "or ambient: true"},
		"s3: no region":                {S3(), with(func(c *S3Connection) { c.Region = "" }), public, "region is missing"},
		"s3: region is a host":         {S3(), with(func(c *S3Connection) { c.Region = "evil.example/#" }), public, "region: want"},
		"s3: token and ambient":        {S3(), S3Connection{Bucket: bucket, Region: "eu-central-1", Credentials: amazon.Credentials{Ambient: true, SessionToken: canary}}, public, "session_token"},
		"s3: external ID alone":        {S3(), with(func(c *S3Connection) { c.ExternalID = "1" }), public, "external_id"},
		"s3: ambient to an endpoint":   {S3(), S3Connection{Bucket: bucket, Endpoint: "https://evil.example.com", Credentials: amazon.Credentials{Ambient: true}}, public, "for Amazon only"},
		"s3: role at an endpoint":      {S3(), with(func(c *S3Connection) { c.Endpoint, c.RoleARN = "https://evil.example.com", "arn:aws:iam::1:role/x" }), public, "for Amazon only"},
		"s3: endpoint in the network":  {S3(), with(func(c *S3Connection) { c.Endpoint = "https://169.254.169.254" }), public, "inside the network"},
		"s3: endpoint with a path":     {S3(), with(func(c *S3Connection) { c.Endpoint = "https://example.com/x?y" }), public, "without a path"},
		"s3: endpoint without TLS":     {S3(), with(func(c *S3Connection) { c.Endpoint = "http://storage.example.com" }), public, "must be https"},
		"s3: no bucket":                {S3(), with(func(c *S3Connection) { c.Bucket = "" }), public, "no bucket"},
		"s3: bucket is a host":         {S3(), with(func(c *S3Connection) { c.Bucket = "evil.example/#" }), public, "bucket \"evil"},
		"gcs: key":                     {GCS(), GCSConnection{Bucket: bucket, ServiceAccountKey: file}, public, ""},
		"gcs: ambient":                 {GCS(), GCSConnection{Bucket: bucket, Ambient: true}, public, ""},
		"gcs: nothing":                 {GCS(), GCSConnection{Bucket: bucket}, public, "ambient: true"},
		"gcs: both":                    {GCS(), GCSConnection{Bucket: bucket, Ambient: true, ServiceAccountKey: file}, public, "or ambient: true"},
		"gcs: ambient to an endpoint":  {GCS(), GCSConnection{Bucket: bucket, Ambient: true, Endpoint: "https://evil.example.com"}, public, "for Google only"},
		"gcs: not JSON":                {GCS(), GCSConnection{Bucket: bucket, ServiceAccountKey: canary}, public, "JSON key file"},
		"gcs: token from the network":  {GCS(), GCSConnection{Bucket: bucket, ServiceAccountKey: objecttest.KeyFile(objecttest.ServiceKey(), "http://169.254.169.254/token")}, public, "token_uri"},
		"gcs: endpoint in the network": {GCS(), GCSConnection{Bucket: bucket, ServiceAccountKey: file, Endpoint: "https://10.0.0.1"}, public, "inside the network"},
		"gcs: credentials from a file of the worker's": {GCS(), GCSConnection{Bucket: bucket,
			ServiceAccountKey: `{"type": "external_account", "credential_source": {"file": "/etc/passwd"}, "token_url": "https://evil.example.com"}`}, public, "JSON key file"},
	} {
		err := tryOpen(t, test.def, Settings{}, test.connection, test.env)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case test.want != "" && (kindOf(t, err) != connectors.Invalid || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want it to say %q", name, err, test.want)
		case err != nil && strings.Contains(err.Error(), canary):
			t.Errorf("%s: the error tells the secret", name)
		}
	}
}

// TestAddressInsideTheNetwork proves that a host whose name leads into the operator's network is not dialled (I14).
func TestAddressInsideTheNetwork(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	c := s3Connection(s)
	c.Endpoint = "https://storage.example.com"
	d, err := S3().OpenDestination(connectors.Config{Connection: raw(t, c)})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	a := d.(*destination).account.(*s3Account)
	if _, err = a.http.Get("https://" + hostOf(t, s.URL)); err == nil {
		t.Fatal("an address inside the network was called")
	}
	if e := a.failed(listing, bucket, err); e.Kind != connectors.Invalid || !strings.Contains(e.Message, "inside the network") {
		t.Errorf("got %v", e)
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// TestSettings proves which settings are refused.
func TestSettings(t *testing.T) {
	t.Parallel()
	connection := S3Connection{Bucket: bucket, Region: "eu-central-1", Credentials: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}}
	for want, settings := range map[string]any{
		"format":                   Settings{Format: "csv"},
		"compression":              Settings{Compression: "lzma"},
		"compression \"snappy\"":   Settings{Format: "parquet", Compression: "snappy"},
		"want the variables":       Settings{Path: "{secret}"},
		"} without a {":            Settings{Path: "stream}"},
		"made of dots":             Settings{Path: "a/../{stream}"},
		"is empty":                 Settings{Path: "a//{stream}"},
		"control characters":       Settings{Path: "a\\{stream}"},
		"longer than 1024":         Settings{Path: strings.Repeat("{stream}/", 6)},
		"bucket":                   Settings{Bucket: "Exports"},
		"unknown field \"prefix\"": map[string]string{"prefix": "x"},
	} {
		if err := tryOpen(t, S3(), settings, connection, connectors.Env{}); kindOf(t, err) != connectors.Invalid || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: got %v, want it to say %q", settings, err, want)
		}
	}
	for _, c := range []connectors.Config{{Mode: connectors.ModeUpsert}, {Layout: "rows"}, {Layout: connectors.LayoutColumns},
		{Layout: connectors.LayoutColumns, Schema: connectors.Freeze, Settings: raw(t, Settings{Format: "parquet"})}} {
		c.Connection = raw(t, connection)
		if _, err := S3().OpenDestination(c); kindOf(t, err) != connectors.Invalid {
			t.Errorf("got %v", err)
		}
	}
	if err := tryOpen(t, S3(), Settings{Bucket: "another-bucket"}, func() S3Connection { c := connection; c.Bucket = ""; return c }(), connectors.Env{}); err != nil {
		t.Error(err)
	}
}

// amazonHosts answers for Amazon's hosts, without a network: STS and S3.
type amazonHosts struct {
	mu   sync.Mutex
	sts  func(form map[string]string) (status int, body string)
	s3   http.Handler
	seen []string
}

func (a *amazonHosts) RoundTrip(r *http.Request) (*http.Response, error) {
	var body []byte
	if r.Body != nil {
		defer r.Body.Close()
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	w := httptest.NewRecorder()
	a.mu.Lock()
	a.seen = append(a.seen, r.URL.Host+" "+r.Header.Get("X-Amz-Security-Token"))
	a.mu.Unlock()
	if strings.HasPrefix(r.URL.Host, "sts.") {
		again := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(string(body)))
		again.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		form := make(map[string]string)
		for _, name := range []string{"Action", "RoleArn", "ExternalId", "RoleSessionName"} {
			form[name] = again.PostFormValue(name)
		}
		status, answer := a.sts(form)
		w.Header().Set("Content-Type", "text/xml")
		w.WriteHeader(status)
		io.WriteString(w, answer)
	} else {
		a.s3.ServeHTTP(w, r)
	}
	return w.Result(), nil
}

// TestRole proves that a role is assumed with the external ID, and its temporary credentials used for Amazon's own hosts; and what is
// said when it can't be. https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func TestRole(t *testing.T) {
	t.Parallel()
	const arn = "arn:aws:iam::123456789012:role/tributary"
	var asked map[string]string
	host := &amazonHosts{
		s3: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("X-Amz-Security-Token") != "temporary-token" {
				w.WriteHeader(http.StatusForbidden)
				fmt.Fprint(w, `<Error><Code>InvalidAccessKeyId</Code></Error>`)
				return
			}
			fmt.Fprint(w, `<ListBucketResult></ListBucketResult>`)
		}),
		sts: func(form map[string]string) (int, string) {
			asked = form
			return http.StatusOK, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials>
<AccessKeyId>ASIATEMPORARY</AccessKeyId><SecretAccessKey>temporary</SecretAccessKey><SessionToken>temporary-token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>
</Credentials></AssumeRoleResult></AssumeRoleResponse>`
		},
	}
	open := func() *destination {
		c := S3Connection{Bucket: bucket, Region: "eu-central-1", Credentials: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: canary, RoleARN: arn, ExternalID: "tenant-7"}}
		d, err := S3().OpenDestination(connectors.Config{Connection: raw(t, c), Env: connectors.Env{Transport: host}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d.(*destination)
	}
	if _, err := open().Write(t.Context(), batchOf(0, "orders")); err != nil {
		t.Fatal(err)
	}
	if asked["Action"] != "AssumeRole" || asked["RoleArn"] != arn || asked["ExternalId"] != "tenant-7" {
		t.Errorf("STS was asked for %v", asked)
	}
	for _, seen := range host.seen {
		if !strings.HasPrefix(seen, "sts.eu-central-1.amazonaws.com ") && seen != bucket+".s3.eu-central-1.amazonaws.com temporary-token" {
			t.Errorf("called %q", seen)
		}
	}

	for _, test := range []struct {
		status int
		code   string
		kind   connectors.Kind
	}{{403, "AccessDenied", connectors.Unauthorized}, {403, "ExpiredTokenException", connectors.Unauthorized}, {503, "ServiceUnavailable", connectors.Unavailable}} {
		host.sts = func(map[string]string) (int, string) {
			return test.status, fmt.Sprintf(`<ErrorResponse><Error><Type>Sender</Type><Code>%s</Code><Message>%s is not allowed</Message></Error></ErrorResponse>`, test.code, canary)
		}
		_, err := open().Write(t.Context(), batchOf(0, "orders"))
		if kindOf(t, err) != test.kind || !strings.Contains(err.Error(), "trust policy") || !strings.Contains(err.Error(), test.code) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: got %v", test.code, err)
		}
	}
}

// TestAccountsAreShared proves that destinations of one connection share what they connect with, and that another secret is another connection.
func TestAccountsAreShared(t *testing.T) {
	t.Parallel()
	s, def := objecttest.NewS3(t, s3Returned), S3()
	rotated := s3Connection(s)
	rotated.SecretAccessKey = "rotated"
	one, two, three := openOn(t, def, s3Connection(s), Settings{}), openOn(t, def, s3Connection(s), Settings{Path: "x"}), openOn(t, def, rotated, Settings{})
	if one.account != two.account || one.account == three.account {
		t.Error("want one account a connection")
	}
	for _, d := range []*destination{one, three} {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}
	if _, err := two.Write(context.Background(), batchOf(0, "orders")); err != nil {
		t.Errorf("after the other was closed: %v", err)
	}
	if err := two.Close(); err != nil {
		t.Error(err)
	}
}
