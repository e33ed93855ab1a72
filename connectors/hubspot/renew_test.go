package hubspot_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

func oauthConnection() hubspot.Connection {
	c := connection()
	c.RefreshToken = hubspottest.RefreshToken
	return c
}

func (a *account) renew(t *testing.T, conn json.RawMessage, app any) (json.RawMessage, error) {
	t.Helper()
	return hubspot.Definition().Renewal.Renew(t.Context(), connectors.Config{
		Connection: conn, App: raw(t, app), Env: connectors.Env{Transport: a.contract, Now: a.Now},
	})
}

func fields(t *testing.T, conn json.RawMessage) hubspot.Connection {
	t.Helper()
	var c hubspot.Connection
	if err := json.Unmarshal(conn, &c); err != nil {
		t.Fatal(err)
	}
	return c
}

// Tokens are renewed before they expire, over and over, also where the refresh token changes each time.
func TestTokensAreRenewedBeforeTheyExpire(t *testing.T) {
	t.Parallel()
	for _, rotate := range []bool{false, true} {
		a := newAccount(t, hubspottest.Options{Rotate: rotate})
		a.fill("deals", 1)
		a.Expire()
		conn := raw(t, oauthConnection())
		due := hubspot.Definition().Renewal.Due
		if at := due(conn); at.IsZero() || at.After(a.Now()) {
			t.Errorf("a token whose end nobody knows is due at %s, want at once", at)
		}
		for range 5 {
			next, err := a.renew(t, conn, app())
			if err != nil {
				t.Fatal(err)
			}
			was, is := fields(t, conn), fields(t, next)
			if is.AccessToken == was.AccessToken || is.PortalID != was.PortalID || (is.RefreshToken != was.RefreshToken) != rotate {
				t.Errorf("rotated %v: renewed %+v to %+v", rotate, was.PortalID, is.PortalID)
			}
			if ends := hubspot.Definition().Renewal.Expires(next); !ends.Equal(a.Now().Add(hubspottest.TokenLife).Truncate(time.Second)) {
				t.Errorf("it expires at %s, want after %s", ends, hubspottest.TokenLife)
			}
			at := due(next)
			if left := a.Now().Add(hubspottest.TokenLife).Sub(at); left < 5*time.Minute || left > 15*time.Minute {
				t.Errorf("it is due %s before its end", left)
			}
			conn = next
			a.Advance(at.Sub(a.Now()))
			v, err := hubspot.Definition().OpenSource(connectors.Config{Connection: conn, Env: connectors.Env{Transport: a.contract, Now: a.Now}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "deals"}); err != nil {
				t.Fatal(err)
			}
		}
		a.Advance(time.Hour)
		v, err := hubspot.Definition().OpenSource(connectors.Config{Connection: conn, Env: connectors.Env{Transport: a.contract, Now: a.Now}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.(connectors.Source).Fetch(t.Context(), connectors.FetchRequest{Stream: "deals"})
		connectortest.WantError(t, err, connectors.Unauthorized)
	}
}

func TestPrivateAppsAreNotRenewed(t *testing.T) {
	t.Parallel()
	renewal := hubspot.Definition().Renewal
	if due, ends := renewal.Due(raw(t, connection())), renewal.Expires(raw(t, connection())); !due.IsZero() || !ends.IsZero() {
		t.Errorf("due at %s, expires at %s", due, ends)
	}
}

func TestRenewingIsRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		conn func(*hubspot.Connection)
		app  func(*hubspot.App)
		kind connectors.Kind
	}{
		"a refresh token that was revoked": {func(c *hubspot.Connection) { c.RefreshToken = "hs_canary_revoked" }, nil, connectors.Unauthorized},
		"another client secret":            {nil, func(a *hubspot.App) { a.ClientSecret = "hs_canary_wrong" }, connectors.Unauthorized},
		"another client":                   {nil, func(a *hubspot.App) { a.ClientID = "hs_canary_client" }, connectors.Unauthorized},
		"no client":                        {nil, func(a *hubspot.App) { a.ClientID = "" }, connectors.Forbidden},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, hubspottest.Options{})
			conn, credentials := oauthConnection(), app()
			if c.conn != nil {
				c.conn(&conn)
			}
			if c.app != nil {
				c.app(&credentials)
			}
			got, err := a.renew(t, raw(t, conn), credentials)
			if e := connectortest.WantError(t, err, c.kind); strings.Contains(e.Error(), "hs_canary") {
				t.Errorf("a secret shows in: %v", e)
			}
			if got != nil {
				t.Error("a connection beside an error")
			}
		})
	}
}

// What HubSpot doesn't understand is no reason to ask the user for anything.
func TestARequestForATokenIsGarbledOnItsWay(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	_, err := hubspot.Definition().Renewal.Renew(t.Context(), connectors.Config{
		Connection: raw(t, oauthConnection()), App: raw(t, app()),
		Env: connectors.Env{Now: a.Now, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			req.Body = io.NopCloser(strings.NewReader("grant_type=none"))
			return a.RoundTrip(req)
		})},
	})
	connectortest.WantError(t, err, connectors.Invalid)
}

// The app's secret goes where the operator says, never to a URL that a user's connection names.
func TestTheSecretGoesToNoUsersURL(t *testing.T) {
	t.Parallel()
	a := newAccount(t, hubspottest.Options{})
	conn := oauthConnection()
	conn.APIURL = "https://user.example/api"
	asked := ""
	_, err := hubspot.Definition().Renewal.Renew(t.Context(), connectors.Config{
		Connection: raw(t, conn), App: raw(t, app()),
		Env: connectors.Env{Now: a.Now, Transport: roundTripper(func(req *http.Request) (*http.Response, error) {
			asked = req.URL.Host
			body, _ := io.ReadAll(req.Body)
			if !strings.Contains(string(body), "grant_type=refresh_token") {
				t.Errorf("sent %s", body)
			}
			return a.RoundTrip(&http.Request{Method: req.Method, URL: req.URL, Header: req.Header, Body: io.NopCloser(strings.NewReader(string(body)))})
		})},
	})
	if err != nil || asked != "api.hubapi.com" {
		t.Errorf("asked %q: %v", asked, err)
	}
}
