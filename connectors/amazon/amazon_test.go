package amazon_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/amazon/amazontest"
	"tributary/connectors/outbound"
)

const (
	keyID  = "AKIATRIBUTARYTEST000"
	canary = "canary-7f3a"
	bucket = "exports"
	role   = "arn:aws:iam::123456789012:role/exports"
)

var loopback = connectors.Env{Networks: []*net.IPNet{{IP: net.IPv4(127, 0, 0, 0), Mask: net.CIDRMask(8, 32)}}}

// key is what the stand-in knows.
var key = amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: canary}

func serve(t *testing.T) *amazontest.S3 {
	t.Helper()
	return amazontest.ServeS3(t, amazontest.NewKeys(keyID, canary, "s3", "sts"), bucket)
}

// look asks for a list of the bucket.
func look(t *testing.T, c amazon.Credentials, region, endpoint string) error {
	t.Helper()
	client := amazon.Client(endpoint, loopback, outbound.Options{Timeout: time.Minute})
	t.Cleanup(client.CloseIdleConnections)
	config, err := amazon.Config(c, region, endpoint, client)
	if err != nil {
		t.Fatal(err)
	}
	name := bucket
	_, err = s3.NewFromConfig(config, func(o *s3.Options) { o.UsePathStyle = true }).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &name})
	return err
}

// meaning is what a connector makes of an error: the kind, and all that it may say.
func meaning(err error) (kind connectors.Kind, says string) {
	var none *amazon.NoCredentials
	if errors.As(err, &none) {
		return none.Kind(), none.Message
	}
	code, status, answered := amazon.Answer(err)
	if !answered {
		e := outbound.AsError("", err)
		return e.Kind, e.Message
	}
	m := amazon.MeaningOf(code, status)
	return m.Kind, m.Advice + " " + code
}

// Who calls is a key, a temporary one, or a role that either assumes with the external ID; each is let in as itself alone, and what keeps it out says which.
func TestCredentials(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.CreateRole(role, "for-tributary")
	s.CreateRole(role+"-open", "")
	id, secret, token := s.Temporary()
	with := func(change func(c *amazon.Credentials)) amazon.Credentials {
		c := key
		change(&c)
		return c
	}
	for name, test := range map[string]struct {
		c        amazon.Credentials
		kind     connectors.Kind
		says     string
		endpoint string
	}{
		"key":                    {c: key},
		"temporary key":          {c: amazon.Credentials{AccessKeyID: id, SecretAccessKey: secret, SessionToken: token}},
		"role":                   {c: with(func(c *amazon.Credentials) { c.RoleARN, c.ExternalID = role, "for-tributary" })},
		"role, no external ID":   {c: with(func(c *amazon.Credentials) { c.RoleARN = role + "-open" })},
		"temporary, no token":    {c: amazon.Credentials{AccessKeyID: id, SecretAccessKey: secret}, kind: connectors.Unauthorized, says: "InvalidAccessKeyId"},
		"unknown key":            {c: with(func(c *amazon.Credentials) { c.AccessKeyID = "AKIANOBODY" }), kind: connectors.Unauthorized, says: "InvalidAccessKeyId"},
		"wrong secret":           {c: with(func(c *amazon.Credentials) { c.SecretAccessKey += "x" }), kind: connectors.Unauthorized, says: "SignatureDoesNotMatch"},
		"another external ID":    {c: with(func(c *amazon.Credentials) { c.RoleARN, c.ExternalID = role, canary }), kind: connectors.Unauthorized, says: "trust policy"},
		"external ID left out":   {c: with(func(c *amazon.Credentials) { c.RoleARN = role }), kind: connectors.Unauthorized, says: "external ID"},
		"role of nobody's":       {c: with(func(c *amazon.Credentials) { c.RoleARN = role + "-other" }), kind: connectors.Unauthorized, says: "can't be assumed"},
		"role by an unknown key": {c: with(func(c *amazon.Credentials) { c.AccessKeyID, c.RoleARN = "AKIANOBODY", role }), kind: connectors.Unauthorized, says: "can't be assumed"},
		"nobody answers":         {c: key, endpoint: "http://127.0.0.1:1", kind: connectors.Unavailable},
		"no STS answers":         {c: with(func(c *amazon.Credentials) { c.RoleARN = role }), endpoint: "http://127.0.0.1:1", kind: connectors.Unavailable, says: "can't be assumed"},
	} {
		endpoint := test.endpoint
		if endpoint == "" {
			endpoint = s.URL
		}
		err := look(t, test.c, amazontest.Region, endpoint)
		if test.kind == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		kind, says := meaning(err)
		if kind != test.kind || !strings.Contains(says, test.says) {
			t.Errorf("%s: %s, %q; want %s, %q", name, kind, says, test.kind, test.says)
		}
		if strings.Contains(says, canary) || strings.Contains(says, keyID) {
			t.Errorf("%s: %q tells a secret", name, says)
		}
	}
}

// A role is assumed once, not with each request.
func TestRoleIsKept(t *testing.T) {
	t.Parallel()
	s := serve(t)
	s.CreateRole(role, "")
	c := key
	c.RoleARN = role
	client := amazon.Client(s.URL, loopback, outbound.Options{Timeout: time.Minute})
	t.Cleanup(client.CloseIdleConnections)
	config, err := amazon.Config(c, amazontest.Region, s.URL, client)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if _, err := config.Credentials.Retrieve(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if got := s.Assumed(); got != 1 {
		t.Errorf("it was assumed %d times", got)
	}
}

// The worker's own credentials come from its environment, and nothing else of it: not a region, an endpoint or a profile's role. It is not parallel: the environment is the process's.
func TestAmbient(t *testing.T) {
	s := serve(t)
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { t.Errorf("%s is called", r.URL) }))
	defer elsewhere.Close()
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": canary, "AWS_SESSION_TOKEN": "", "AWS_REGION": "us-west-2", "AWS_ENDPOINT_URL": elsewhere.URL,
		"AWS_ENDPOINT_URL_S3": elsewhere.URL, "AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": t.TempDir() + "/none", "AWS_SHARED_CREDENTIALS_FILE": t.TempDir() + "/none",
	} {
		t.Setenv(name, value)
	}
	if err := look(t, amazon.Credentials{Ambient: true}, amazontest.Region, s.URL); err != nil {
		t.Errorf("ambient: %v", err)
	}
	s.CreateRole(role, "x")
	if err := look(t, amazon.Credentials{Ambient: true, RoleARN: role, ExternalID: "x"}, amazontest.Region, s.URL); err != nil {
		t.Errorf("ambient with a role: %v", err)
	}
	// A key that a connection has is not replaced by the worker's.
	kind, _ := meaning(look(t, amazon.Credentials{AccessKeyID: "AKIANOBODY", SecretAccessKey: canary}, amazontest.Region, s.URL))
	if kind != connectors.Unauthorized {
		t.Errorf("a key of nobody's is %s", kind)
	}
	for name := range map[string]bool{"AWS_ACCESS_KEY_ID": true, "AWS_SECRET_ACCESS_KEY": true} {
		t.Setenv(name, "")
	}
	kind, says := meaning(look(t, amazon.Credentials{Ambient: true}, amazontest.Region, s.URL))
	if kind != connectors.Unauthorized || !strings.Contains(says, "no credentials of its own") {
		t.Errorf("without any: %s, %q", kind, says)
	}
}

// What does not go together is said without repeating it, and a user never stands for the worker.
func TestCheck(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		c        amazon.Credentials
		operator bool
		says     string
	}{
		"key":                {c: key},
		"role":               {c: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: canary, RoleARN: role, ExternalID: canary}},
		"operator's ambient": {c: amazon.Credentials{Ambient: true}, operator: true},
		"nothing":            {operator: true, says: "or ambient"},
		"half a key":         {c: amazon.Credentials{SecretAccessKey: canary}, says: "belong together"},
		"the other half":     {c: amazon.Credentials{AccessKeyID: canary}, says: "belong together"},
		"both":               {c: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: canary, Ambient: true}, operator: true, says: "or ambient"},
		"a user's ambient":   {c: amazon.Credentials{Ambient: true}, says: "operator"},
		"token of no key":    {c: amazon.Credentials{Ambient: true, SessionToken: canary}, operator: true, says: "session_token"},
		"ID of no role":      {c: amazon.Credentials{AccessKeyID: keyID, SecretAccessKey: canary, ExternalID: canary}, says: "external_id"},
	} {
		err := test.c.Check(test.operator)
		if test.says == "" {
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			continue
		}
		if err == nil || connectors.AsError("", err).Kind != connectors.Invalid || !strings.Contains(err.Error(), test.says) || strings.Contains(err.Error(), canary) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A region becomes part of host names: nothing else is one.
func TestRegions(t *testing.T) {
	t.Parallel()
	for name, is := range map[string]bool{
		"eu-central-1": true, "us-gov-west-1": true, "cn-north-1": true, "ap-southeast-4": true, "us-iso-east-1": true,
		"": false, "eu": false, "eu-central-1.evil.example.com": false, "eu-central-1\n": false, "EU-CENTRAL-1": false, "eu_central_1": false, "evil.example.com/x-1": false,
	} {
		if amazon.IsRegion(name) != is {
			t.Errorf("%q: %v", name, !is)
		}
	}
}

// An endpoint stands for AWS in all services, so that nothing signed for it goes to AWS; without one it is the region's. A host inside the network is not called (I14).
func TestEndpoints(t *testing.T) {
	t.Parallel()
	var hosts []string
	record := roundTripper(func(r *http.Request) (*http.Response, error) {
		hosts = append(hosts, r.URL.Scheme+"://"+r.URL.Host)
		return nil, errors.New("there is no network")
	})
	env := connectors.Env{Transport: record}
	client := amazon.Client("", env, outbound.Options{Timeout: time.Minute})
	config, err := amazon.Config(key, "eu-central-1", "", client)
	if err != nil {
		t.Fatal(err)
	}
	name := bucket
	_, _ = s3.NewFromConfig(config).ListObjectsV2(t.Context(), &s3.ListObjectsV2Input{Bucket: &name})
	_, _ = sts.NewFromConfig(config).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if got := fmt.Sprint(hosts); got != "[https://exports.s3.eu-central-1.amazonaws.com https://sts.eu-central-1.amazonaws.com]" { // and nothing twice
		t.Errorf("AWS is at %s", got)
	}
	// The engine's transport is for AWS itself: a host that a user named is called by a client that looks where it leads.
	hosts = nil
	client = amazon.Client("https://169.254.169.254", env, outbound.Options{Timeout: time.Minute})
	if config, err = amazon.Config(key, "eu-central-1", "https://169.254.169.254", client); err != nil {
		t.Fatal(err)
	}
	_, err = sts.NewFromConfig(config).GetCallerIdentity(t.Context(), &sts.GetCallerIdentityInput{})
	if !errors.Is(err, outbound.ErrRefused) || len(hosts) != 0 {
		t.Errorf("got %v, called %q", err, hosts)
	}
	// A redirect is not followed: what is signed is for this host alone.
	var elsewhere int
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere++ }))
	defer other.Close()
	redirecting := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusTemporaryRedirect))
	defer redirecting.Close()
	kind, _ := meaning(look(t, key, amazontest.Region, redirecting.URL))
	if elsewhere != 0 || kind != connectors.Invalid && kind != connectors.Unavailable {
		t.Errorf("the redirect was followed %d times, %s", elsewhere, kind)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// Codes and statuses have their kinds (I9), whichever protocol they come by, and nothing of an answer but its code is told (I7).
func TestErrors(t *testing.T) {
	t.Parallel()
	for code, m := range amazon.Common {
		if !amazon.IsCode(code) || m.Advice == "" || m.Kind == "" {
			t.Errorf("%s is no code, or means nothing", code)
		}
	}
	for _, test := range []struct {
		code   string
		status int
		kind   connectors.Kind
	}{
		{"SlowDown", 503, connectors.RateLimited}, {"InternalError", 500, connectors.Unavailable}, {"AccessDenied", 403, connectors.Forbidden},
		{"ExpiredToken", 400, connectors.Unauthorized}, {"NoSuchBucket", 404, connectors.NotFound}, {"RequestTimeTooSkewed", 403, connectors.Unavailable},
		{"Unheard", 401, connectors.Unauthorized}, {"Unheard", 403, connectors.Forbidden}, {"Unheard", 429, connectors.RateLimited}, {"Unheard", 408, connectors.Unavailable},
		{"Unheard", 500, connectors.Unavailable}, {"Unheard", 301, connectors.Invalid}, {"Unheard", 400, connectors.Unknown},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/xml")
			w.WriteHeader(test.status)
			fmt.Fprintf(w, "<Error><Code>%s</Code><Message>%s</Message></Error>", test.code, canary)
		}))
		err := look(t, key, amazontest.Region, server.URL)
		server.Close()
		code, status, answered := amazon.Answer(err)
		kind, says := meaning(err)
		if !answered || code != test.code || status != test.status || kind != test.kind || strings.Contains(says, canary) {
			t.Errorf("%s %d: answered %v with %q and %d, which is %s, %q", test.code, test.status, answered, code, status, kind, says)
		}
	}
	for code, is := range map[string]bool{"NoSuchKey": true, "": false, "a b": false, "Key " + canary: false, strings.Repeat("A", 99): false, "Bad\nCode": false} {
		if amazon.IsCode(code) != is {
			t.Errorf("%q: %v", code, !is)
		}
	}
	if _, _, answered := amazon.Answer(context.Canceled); answered {
		t.Error("who is cancelled was answered")
	}
}
