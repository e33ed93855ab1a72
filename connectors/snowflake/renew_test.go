package snowflake_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

// renewable is a connection whose access token is renewed.
func renewable(s *snowflaketest.Server) snowflake.Connection {
	c := direct(s)
	c.Password, c.User = "", ""
	c.OAuth = snowflake.OAuth{OAuthRefreshToken: s.RefreshToken(), OAuthClientID: snowflaketest.ClientID, OAuthClientSecret: snowflaketest.ClientSecret}
	return c
}

func renewed(t *testing.T, connection json.RawMessage, now time.Time) (json.RawMessage, error) {
	t.Helper()
	env := connectortest.Loopback()
	env.Now = func() time.Time { return now }
	return snowflake.Definition().Renewal.Renew(t.Context(), connectors.Config{Connection: connection, Env: env, Operator: true})
}

// An access token is renewed before it ends, over and over, while each refresh token works once; what logs in with it writes.
func TestTokensAreRenewed(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	external := renewable(s)
	external.OAuthRefreshToken, external.OAuthTokenURL, external.OAuthScope = "", s.URL+"/external/token", "session:role:"+snowflaketest.Role
	first := 0
	for name, start := range map[string]snowflake.Connection{"Snowflake's": renewable(s), "another's": external} {
		c := connectortest.JSON(t, start)
		r := snowflake.Definition().Renewal
		now := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
		if !r.Due(c).Before(now) || !r.Expires(c).Before(now) {
			t.Errorf("%s: a connection without a token is due at %v", name, r.Due(c))
		}
		for range 3 {
			s.ExpireOAuth()
			next, err := renewed(t, c, now)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if due, ends := r.Due(next), r.Expires(next); !ends.Equal(now.Add(snowflaketest.TokenLife)) || !due.After(now) || !due.Before(ends) {
				t.Errorf("%s: renewed at %v it is due at %v and ends at %v", name, now, due, ends)
			}
			var conn snowflake.Connection
			if err := json.Unmarshal(next, &conn); err != nil {
				t.Fatal(err)
			}
			if conn.OAuthToken != s.OAuthToken() || conn.OAuthClientSecret != snowflaketest.ClientSecret || conn.Warehouse != start.Warehouse || name == "Snowflake's" && conn.OAuthRefreshToken != s.RefreshToken() {
				t.Errorf("%s: renewed to %+v", name, conn)
			}
			d := openedWith(t, conn, warehouse, connectors.Config{})
			if err := d.(connectors.Checker).Check(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			connectortest.Write(t, d, connectortest.Batch(connectors.Append, "orders", first, 1))
			first++
			c, now = next, now.Add(8*time.Minute)
		}
	}
	// A token that nobody can renew is never due, and other ways to log in have none.
	lasting := direct(s)
	lasting.Password, lasting.OAuthToken = "", s.OAuthToken()
	for _, c := range []snowflake.Connection{lasting, direct(s)} {
		if r := snowflake.Definition().Renewal; !r.Due(connectortest.JSON(t, c)).IsZero() || !r.Expires(connectortest.JSON(t, c)).IsZero() {
			t.Error("it is due without a means to renew it")
		}
	}
}

// What keeps a token from being renewed has its kind, and no secret in it (I7, I9).
func TestRenewingIsRefused(t *testing.T) {
	t.Parallel()
	s := snowflaketest.New(t, &returned)
	for name, test := range map[string]struct {
		change func(c *snowflake.Connection)
		kind   connectors.Kind
		says   string
	}{
		"a used refresh token":  {func(c *snowflake.Connection) { c.OAuthRefreshToken = canary }, connectors.Unauthorized, "invalid_grant"},
		"another client":        {func(c *snowflake.Connection) { c.OAuthClientID = canary }, connectors.Unauthorized, "invalid_client"},
		"another secret":        {func(c *snowflake.Connection) { c.OAuthClientSecret = canary }, connectors.Unauthorized, "invalid_client"},
		"no such endpoint":      {func(c *snowflake.Connection) { c.OAuthTokenURL = s.URL + "/" + canary }, connectors.NotFound, "404"},
		"no server":             {func(c *snowflake.Connection) { c.Host = "http://127.0.0.1:1" }, connectors.Unavailable, ""},
		"an endpoint inside":    {func(c *snowflake.Connection) { c.OAuthTokenURL = "https://169.254.169.254/token" }, connectors.Invalid, "inside the network"},
		"half a client":         {func(c *snowflake.Connection) { c.OAuthClientSecret = "" }, connectors.Invalid, "belong together"},
		"no refresh token":      {func(c *snowflake.Connection) { c.OAuthRefreshToken = "" }, connectors.Invalid, "oauth_token_url"},
		"a refresh token alone": {func(c *snowflake.Connection) { c.OAuthClientID, c.OAuthClientSecret = "", "" }, connectors.Invalid, "oauth_client_id"},
		"a password beside it":  {func(c *snowflake.Connection) { c.User, c.Password = "ADA", canary }, connectors.Invalid, "one of"},
	} {
		c := renewable(s)
		test.change(&c)
		_, err := renewed(t, connectortest.JSON(t, c), time.Now())
		connectortest.WantError(t, err, test.kind, test.says)
		if text := err.Error(); strings.Contains(text, canary) || strings.Contains(text, snowflaketest.ClientSecret) || strings.Contains(text, s.RefreshToken()) {
			t.Errorf("%s: %q tells a secret", name, text)
		}
	}
}
