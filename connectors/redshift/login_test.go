package redshift_test

import (
	"sync"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/redshift"
	"tributary/connectors/redshift/redshifttest"
)

// byIAM is a connection without a password.
func byIAM(t testing.TB, s *redshifttest.Server, change func(c *redshift.Connection)) redshift.Connection {
	c := connection(t, s)
	c.User, c.Password = "", ""
	change(&c)
	return c
}

// Instead of a password IAM lets in: a user of a cluster, or who the credentials are, at a cluster or a workgroup. One password serves all sessions.
func TestIAM(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(c *redshift.Connection){
		"user of a cluster":       func(c *redshift.Connection) { c.Cluster, c.User = redshifttest.Cluster, redshifttest.User },
		"identity at a cluster":   func(c *redshift.Connection) { c.Cluster = redshifttest.Cluster },
		"identity at a workgroup": func(c *redshift.Connection) { c.Workgroup = redshifttest.Workgroup },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			d := opened(t, block(t, byIAM(t, s, change), redshift.Settings{Schema: "crm"}, connectors.Append))
			var group sync.WaitGroup
			for lane := range 4 {
				group.Go(func() {
					b := connectortest.Batch(connectors.Append, "orders", 10*lane, 10)
					b.Lane = string(rune('a' + lane))
					for range 20 {
						if _, err := d.Write(t.Context(), b); err == nil {
							return
						} else if connectors.AsError("", err).Kind != connectors.Unavailable {
							t.Error(err)
							return
						}
					}
					t.Error("it is not to be written")
				})
			}
			group.Wait()
			if err := connectortest.Check(t, d); err != nil {
				t.Error(err)
			}
			if got := len(rows(t, s)); got != 40 {
				t.Errorf("%d rows", got)
			}
			if n := s.Given(); n != 1 {
				t.Errorf("%d passwords were asked for", n)
			}
			who := `crm`
			owner := value[string](t, s, `SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = '`+who+`'`)
			want := redshifttest.Identity
			if name == "user of a cluster" {
				want = redshifttest.User
			}
			if len(owner) < len(want) || owner[:len(want)] != want {
				t.Errorf("it worked as %q, want %q", owner, want)
			}
		})
	}
}

// A password of IAM's is replaced before it ends, and where it is refused earlier: that passes by itself.
func TestIAMPasswordsEnd(t *testing.T) {
	t.Parallel()
	s := serve(t)
	var mu sync.Mutex
	now := time.Now()
	later := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		now = now.Add(d)
	}
	c := block(t, byIAM(t, s, func(c *redshift.Connection) { c.Workgroup = redshifttest.Workgroup }), redshift.Settings{}, connectors.Append)
	c.Env.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	s.SetClock(c.Env.Now)
	d := opened(t, c)
	// Two writes at once take two sessions; one after the other takes one.
	together := func(first int) error {
		held, goOn := hold(t, s, "BEGIN")
		done := make(chan error, 1)
		go func() {
			b := connectortest.Batch(connectors.Append, "orders", first, 1)
			_, err := d.Write(t.Context(), b)
			done <- err
		}()
		held(done)
		b := connectortest.Batch(connectors.Append, "orders", first, 1)
		b.Lane = "another"
		_, err := d.Write(t.Context(), b)
		goOn()
		s.Fail(nil)
		if first := <-done; first != nil {
			t.Error(first)
		}
		return err
	}
	connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", 0, 1))
	if err := together(1); err != nil {
		t.Error(err)
	}
	if n := s.Given(); n != 1 {
		t.Fatalf("%d passwords", n)
	}
	// Another pool, whose password ends for reasons of AWS's.
	other := opened(t, c)
	connectortest.Write(t, other, connectortest.Batch(connectors.Append, "orders", 10, 1))
	s.ExpirePasswords()
	d = other
	later(2 * time.Minute)
	err := together(11)
	wantError(t, err, connectors.Unavailable, "another is asked for")
	if err := together(12); err != nil {
		t.Error(err)
	}
	// Near its end one is replaced without anybody's being refused.
	given := s.Given()
	later(56 * time.Minute)
	s.ExpirePasswords()
	third := opened(t, c)
	connectortest.Write(t, third, connectortest.Batch(connectors.Append, "orders", 20, 1))
	later(56 * time.Minute)
	s.ExpirePasswords()
	d = third
	if err := together(21); err != nil {
		t.Error(err)
	}
	if n := s.Given(); n != given+2 {
		t.Errorf("%d passwords, want %d", n, given+2)
	}
}

// What keeps IAM from letting in has its kind and says what to allow, without a secret (I7, I9).
func TestIAMRefusals(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		change func(s *redshifttest.Server, c *redshift.Connection)
		kind   connectors.Kind
		says   []string
	}{
		"no such cluster":   {func(_ *redshifttest.Server, c *redshift.Connection) { c.Cluster = "nowhere" }, connectors.NotFound, []string{"no such cluster", "ClusterNotFound"}},
		"no such workgroup": {func(_ *redshifttest.Server, c *redshift.Connection) { c.Workgroup = "nowhere" }, connectors.NotFound, []string{"no such workgroup"}},
		"no right, a user": {func(s *redshifttest.Server, c *redshift.Connection) {
			c.Cluster, c.User = redshifttest.Cluster, redshifttest.User
			s.Deny("login", true)
		}, connectors.Forbidden, []string{`"redshift:GetClusterCredentials"`, `dbuser:warehouse/ada"`, `dbname:warehouse/warehouse"`}},
		"no right, an identity": {func(s *redshifttest.Server, c *redshift.Connection) {
			c.Cluster = redshifttest.Cluster
			s.Deny("login", true)
		}, connectors.Forbidden, []string{`"redshift:GetClusterCredentialsWithIAM"`}},
		"no right, a workgroup": {func(s *redshifttest.Server, c *redshift.Connection) {
			c.Workgroup = redshifttest.Workgroup
			s.Deny("login", true)
		}, connectors.Forbidden, []string{`"redshift-serverless:GetCredentials"`, ":workgroup/"}},
		"a user who is not there": {func(_ *redshifttest.Server, c *redshift.Connection) { c.Cluster, c.User = redshifttest.Cluster, "bob" }, connectors.Unauthorized, []string{"CREATE USER", `"bob"`, "28000"}},
		"a key of nobody's, cluster": {func(_ *redshifttest.Server, c *redshift.Connection) {
			c.Cluster, c.AccessKeyID = redshifttest.Cluster, "AKIANOBODY"
		}, connectors.Unauthorized, []string{"InvalidClientTokenId"}},
		"a wrong secret, workgroup": {func(_ *redshifttest.Server, c *redshift.Connection) {
			c.Workgroup, c.SecretAccessKey = redshifttest.Workgroup, canary+"x"
		}, connectors.Unauthorized, []string{"InvalidSignatureException"}},
		"a key of nobody's, workgroup": {func(_ *redshifttest.Server, c *redshift.Connection) {
			c.Workgroup, c.AccessKeyID = redshifttest.Workgroup, "AKIANOBODY"
		}, connectors.Unauthorized, []string{"UnrecognizedClientException"}},
		"a wrong secret, cluster": {func(_ *redshifttest.Server, c *redshift.Connection) {
			c.Cluster, c.SecretAccessKey = redshifttest.Cluster, canary+"x"
		}, connectors.Unauthorized, []string{"SignatureDoesNotMatch"}},
		"a role that can't be assumed": {func(_ *redshifttest.Server, c *redshift.Connection) {
			c.Cluster, c.RoleARN = redshifttest.Cluster, "arn:aws:iam::123456789012:role/tributary"
		}, connectors.Unauthorized, []string{"trust policy"}},
		"AWS does not answer": {func(_ *redshifttest.Server, c *redshift.Connection) {
			c.Cluster, c.Endpoint = redshifttest.Cluster, "http://127.0.0.1:1"
		}, connectors.Unavailable, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := serve(t)
			c := byIAM(t, s, func(c *redshift.Connection) { test.change(s, c) })
			d := opened(t, block(t, c, redshift.Settings{}, connectors.Append))
			wantError(t, connectortest.Check(t, d), test.kind, test.says...)
			_, err := d.Write(t.Context(), connectortest.Batch(connectors.Append, "orders", 0, 1))
			wantError(t, err, test.kind, test.says...)
		})
	}
}

// What does not go together is refused when it is opened.
func TestIAMConnections(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for says, change := range map[string]func(c *redshift.Connection){
		"give one of":       func(*redshift.Connection) {},
		"password, cluster": func(c *redshift.Connection) { c.Cluster, c.Workgroup = "a", "b" },
		"user is missing":   func(c *redshift.Connection) { c.Password = password },
		"leave it out":      func(c *redshift.Connection) { c.Workgroup, c.User = "sales", "ada" },
		"cluster: want":     func(c *redshift.Connection) { c.Cluster = `a","Resource":"*` },
		"workgroup: want":   func(c *redshift.Connection) { c.Workgroup = "A B" },
	} {
		_, err := redshift.Definition().OpenDestination(block(t, byIAM(t, s, change), redshift.Settings{}, connectors.Append))
		wantError(t, err, connectors.Invalid, says)
	}
}
