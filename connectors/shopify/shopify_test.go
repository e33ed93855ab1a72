package shopify

import (
	"encoding/json"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/internal/sandbox"
)

func loopback(t *testing.T) []*net.IPNet {
	t.Helper()
	_, n, err := net.ParseCIDR("127.0.0.0/8")
	if err != nil {
		t.Fatal(err)
	}
	return []*net.IPNet{n}
}

func TestConfigIsChecked(t *testing.T) {
	t.Parallel()
	good := Connection{Shop: "example.myshopify.com", AccessToken: "shpat_canary", ClientSecret: "shpss_canary"}
	edit := func(f func(*Connection)) Connection { c := good; f(&c); return c }
	for name, c := range map[string]struct {
		conn     any
		settings any
		field    string // empty: accepted
	}{
		"good":              {good, Settings{}, ""},
		"bare handle":       {edit(func(c *Connection) { c.Shop = "Example" }), Settings{}, ""},
		"pasted URL":        {edit(func(c *Connection) { c.Shop = "https://example.myshopify.com/" }), Settings{}, ""},
		"no shop":           {edit(func(c *Connection) { c.Shop = "" }), Settings{}, "shop"},
		"another host":      {edit(func(c *Connection) { c.Shop = "thief.example" }), Settings{}, "shop"},
		"host in disguise":  {edit(func(c *Connection) { c.Shop = "thief.example/x.myshopify.com" }), Settings{}, "shop"},
		"user in the host":  {edit(func(c *Connection) { c.Shop = "a@thief.example#.myshopify.com" }), Settings{}, "shop"},
		"no token":          {edit(func(c *Connection) { c.AccessToken = "" }), Settings{}, "access_token"},
		"no secret":         {edit(func(c *Connection) { c.ClientSecret = "" }), Settings{}, ""},
		"endless old one":   {edit(func(c *Connection) { c.PreviousClientSecret = "x" }), Settings{}, "previous_client_secret_until"},
		"unknown field":     {map[string]any{"shop": "example", "access_tokn": "shpat_canary"}, Settings{}, "access_tokn"},
		"page too large":    {good, Settings{PageSize: 251}, "page_size"},
		"old version":       {good, Settings{APIVersion: "2025-07"}, "api_version"},
		"no version":        {good, Settings{APIVersion: "latest"}, "api_version"},
		"overlap":           {good, Settings{Overlap: "5m"}, ""},
		"endless overlap":   {good, Settings{Overlap: "1000h"}, "overlap"},
		"inside URL":        {edit(func(c *Connection) { c.AdminURL = "https://169.254.169.254" }), Settings{}, "admin_url"},
		"plain URL":         {edit(func(c *Connection) { c.AdminURL = "http://shop.example" }), Settings{}, "admin_url"},
		"URL with a secret": {edit(func(c *Connection) { c.AdminURL = "https://u:shpat_canary@shop.example" }), Settings{}, "admin_url"},
		"URL with a query":  {edit(func(c *Connection) { c.AdminURL = "https://shop.example/?a=b" }), Settings{}, "admin_url"},
	} {
		_, err := Definition().OpenSource(connectors.Config{Connection: raw(t, c.conn), Settings: raw(t, c.settings)})
		switch {
		case c.field == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.field != "" && (kind(err) != connectors.Invalid || !strings.Contains(err.Error(), c.field)):
			t.Errorf("%s: %v, want invalid, naming %s", name, err, c.field)
		case err != nil && strings.Contains(err.Error(), "canary"):
			t.Errorf("%s: a secret shows in: %v", name, err)
		}
	}
}

// I14: the URL of a connection is a user's; it leads inside only where the operator allows it.
func TestAdminURLStaysOutside(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	server := httptest.NewServer(shop)
	t.Cleanup(server.Close)
	conn := connectionTo(shop)
	conn.AdminURL = server.URL
	config := connectors.Config{Connection: raw(t, conn)}
	if _, err := open(config); kind(err) != connectors.Invalid {
		t.Errorf("loopback without the operator's leave: %v, want invalid", err)
	}
	config.Env.Networks = loopback(t)
	src, err := open(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Check(t.Context()); err != nil {
		t.Errorf("loopback with the operator's leave: %v", err)
	}
}

func TestAccountIsTheShop(t *testing.T) {
	t.Parallel()
	account := Definition().AccountOf
	for connection, want := range map[string]string{
		`{"shop":"Example","access_token":"t"}`:                        "example.myshopify.com",
		`{"shop":"https://example.myshopify.com/","access_token":"t"}`: "example.myshopify.com",
		`nonsense`: "",
	} {
		if got := account(json.RawMessage(connection)); got != want {
			t.Errorf("%s: %q, want %q", connection, got, want)
		}
	}
}

func TestRegistryTakesIt(t *testing.T) {
	t.Parallel()
	r, err := connectors.NewRegistry(Definition())
	if err != nil {
		t.Fatal(err)
	}
	d, err := r.Lookup("shopify")
	if err != nil || !d.Polls || !d.Receives || len(d.Streams) != 12 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestCheckNamesMissingScopes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scopes  []string
		streams []string
		grant   string // empty: accepted
	}{
		"all":                      {nil, []string{"customers", "orders", "products"}, ""},
		"writing includes reading": {[]string{"write_products"}, []string{"products"}, ""},
		"one is enough alone":      {[]string{"read_products"}, nil, ""},
		"nothing":                  {[]string{"read_themes"}, nil, "read_customers, read_orders or read_products"},
		"the block's stream":       {[]string{"read_products"}, []string{"orders"}, "read_orders and read_customers"},
		"privacy needs none":       {[]string{"read_themes"}, []string{"privacy"}, ""},
	} {
		shop := newShop(t, sandbox.Options{Scopes: c.scopes})
		src := openShop(t, shop, Settings{}, connectors.Env{})
		src.streams = c.streams
		err := src.Check(t.Context())
		switch {
		case c.grant == "" && err != nil:
			t.Errorf("%s: %v", name, err)
		case c.grant != "" && (kind(err) != connectors.Forbidden || !strings.Contains(err.Error(), c.grant)):
			t.Errorf("%s: %v, want forbidden, naming %s", name, err, c.grant)
		}
	}
}

func TestCheckNoticesWrongTokenAndShop(t *testing.T) {
	t.Parallel()
	shop := newShop(t, sandbox.Options{})
	for name, c := range map[string]struct {
		change func(*Connection)
		want   connectors.Kind
	}{
		"token": {func(c *Connection) { c.AccessToken = "shpat_other" }, connectors.Unauthorized},
		"shop":  {func(c *Connection) { c.Shop = "other.myshopify.com" }, connectors.Invalid},
	} {
		conn := connectionTo(shop)
		c.change(&conn)
		src, err := open(connectors.Config{Connection: raw(t, conn), Env: connectors.Env{Transport: handlerTransport{shop}}})
		if err != nil {
			t.Fatal(err)
		}
		if err := src.Check(t.Context()); kind(err) != c.want {
			t.Errorf("wrong %s: %v, want %s", name, err, c.want)
		}
	}
}
