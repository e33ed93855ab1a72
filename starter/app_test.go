package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"tributary/connectors"
)

// crmApp are the credentials of an app that is registered with a vendor.
type crmApp struct {
	ClientID     string `json:"client_id" jsonschema:"required,description=ID of the app"`
	ClientSecret string `json:"client_secret" jsonschema:"required,format=password"`
}

type crmConnection struct {
	Portal string `json:"portal" jsonschema:"required"`
}

// ofApps is a connector whose connections belong to an app.
func ofApps() connectors.Definition {
	return connectors.Definition{
		Name: "crm", Title: "CRM", Connection: crmConnection{}, App: crmApp{}, AppWide: true, Receives: true, AnyStream: true,
		OpenSource: func(connectors.Config) (any, error) { return nil, nil },
		AccountOf:  func(json.RawMessage) string { return "portal" },
	}
}

// An app's credentials are stored by --app, checked against their own schema, listed and deleted apart from the connections of the name.
func TestConnectionOfApp(t *testing.T) {
	t.Parallel()
	s := place(t)
	s.more = []connectors.Definition{ofApps()}
	secret := `{"client_id": "id", "client_secret": "` + canary + `"}`
	var said string
	say := func(r result) { said += r.out + r.err }
	s.in = secret
	say(s.want(exitOK, words("Stored connection default of crm for app"), "connection", "set", "crm", "--app"))
	say(s.want(exitOK, words("eu of crm"), "connection", "set", "crm", "--app", "--name", "eu"))
	say(s.want(exitUsage, words("kafka has no credentials of an app"), "connection", "set", "kafka", "--app"))
	say(s.want(exitUsage, words("the connection of crm", "missing portal", "nothing was stored"), "connection", "set", "crm", "--operator"))
	s.in = `{"client_id": "id", "portal": "` + canary + `"}`
	say(s.want(exitUsage, words("the app's credentials of crm", "missing client_secret", "unknown field portal"), "connection", "set", "crm", "--app"))
	s.in = `{"portal": "p"}`
	say(s.want(exitOK, words("user:ada", "account portal"), "connection", "set", "crm", "--user", "ada"))
	for _, both := range [][]string{{"--app", "--operator"}, {"--app", "--user", "ada"}, {"--operator", "--user", "ada"}} {
		for _, c := range []string{"set", "check", "delete"} {
			say(s.want(exitUsage, words("exclude each other"), append([]string{"connection", c, "crm"}, both...)...))
		}
		say(s.want(exitUsage, words("exclude each other"), append([]string{"connection", "list"}, both...)...))
	}
	say(s.want(exitUsage, words("--user USER, --operator or --app"), "connection", "set", "crm"))

	var rows []connectionRow
	s.object(&rows, "connection", "list", "--app")
	if len(rows) != 2 || rows[0].Owner != "app" || rows[0].Name != "default" || rows[0].Account != "" || rows[1].Name != "eu" {
		t.Errorf("got %+v", rows)
	}
	if s.object(&rows, "connection", "list"); len(rows) != 3 {
		t.Errorf("got %+v", rows)
	}
	say(s.want(exitNotFound, words("there is no connection us of crm for app"), "connection", "delete", "crm", "--app", "--name", "us"))
	say(s.want(exitUnreachable, nil, "connection", "check", "crm", "--app"))
	say(s.want(exitOK, words("Deleted connection eu of crm for app"), "connection", "delete", "crm", "--app", "--name", "eu"))
	if s.object(&rows, "connection", "list", "--app"); len(rows) != 1 {
		t.Errorf("got %+v", rows)
	}
	if strings.Contains(said, canary) {
		t.Error("the secret was shown")
	}
}

// describe shows an app's fields, and help and completion know of --app.
func TestAppIsDescribed(t *testing.T) {
	t.Parallel()
	s := place(t)
	s.more = []connectors.Definition{ofApps()}
	s.want(exitOK, words("starter connection set crm --app", "client_secret  string (required, secret)", "ID of the app"), "connectors", "describe", "crm")
	var d described
	if s.object(&d, "connectors", "describe", "crm"); d.App == nil || !slices.Contains(d.App.Required, "client_id") {
		t.Errorf("got %+v", d.App)
	}
	if r := s.want(exitOK, nil, "connectors", "describe", "kafka"); strings.Contains(r.out, "--app") {
		t.Error("describe offers --app where there is none")
	}
	for _, c := range []string{"set", "list", "check", "delete"} {
		s.want(exitOK, words("--app"), "connection", c, "-h")
		s.want(exitOK, words("--app"), "__complete", "connection", c, "--a")
	}
	r := s.want(exitOK, words("crm"), "__complete", "connection", "set", "--app", "")
	if strings.Contains(r.out, "kafka") {
		t.Errorf("completion offers connectors without an app:\n%s", r.out)
	}
	if r = s.want(exitOK, words("crm", "shopify"), "__complete", "connection", "set", ""); strings.Contains(r.out, "duckdb") {
		t.Errorf("completion offers connectors without a connection:\n%s", r.out)
	}
}
