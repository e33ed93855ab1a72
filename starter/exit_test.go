package main

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

// Scripts rely on exit statuses, and people on being told what to do.
func TestExitCodes(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "missing.yaml")
	for name, c := range map[string]struct {
		args []string
		code int
		say  []string
	}{
		"help":                            {words("--help"), exitOK, words("starter demo", "exit-codes")},
		"exit codes":                      {words("help", "exit-codes"), exitOK, words("can't be reached", "not the data that was sent")},
		"unknown command":                 {words("instal"), exitUsage, words("unknown command", "install")},
		"mistyped command":                {words("statsu"), exitUsage, words("did you mean status")},
		"mistyped subcommand":             {words("connectors", "descrbe"), exitUsage, words("did you mean describe")},
		"unknown subcommand":              {words("connection", "sett"), exitUsage, words("unknown command", "set", "connection --help")},
		"unknown flag":                    {words("list", "--nope"), exitUsage, words("--nope", "starter list --help")},
		"too many arguments":              {words("list", "a"), exitUsage, words("starter list --help")},
		"missing argument":                {words("status"), exitUsage, words("starter status INSTALLATION", "starter status --help")},
		"output format":                   {words("list", "-o", "xml"), exitUsage, words("text or json")},
		"csv is for queries":              {words("list", "-o", "csv"), exitUsage, words("query")},
		"no such file":                    {words("validate", missing), exitNotFound, words(missing)},
		"install needs a user":            {words("install", "customers"), exitUsage, words("--user is missing")},
		"a slash would confuse IDs":       {words("install", "customers", "--user", "a/b"), exitUsage, words("slash")},
		"no Temporal":                     {words("install", "customers", "--user", "ada"), exitUnreachable, words("127.0.0.1:1", "starter dev")},
		"no such record":                  {words("quarantine", "show", "1"), exitNotFound, words("quarantine list")},
		"no such record to discard":       {words("quarantine", "discard", "a/b", "7"), exitNotFound, words("a/b")},
		"discarding all is to be meant":   {words("quarantine", "discard", "a/b", "--all"), exitUsage, words("--yes")},
		"redeliver where":                 {words("quarantine", "redeliver", "a/b", "1"), exitUsage, words("--lane")},
		"not a record":                    {words("quarantine", "show", "x"), exitUsage, words("record's ID")},
		"backfill from when":              {words("backfill", "a/b"), exitUsage, words("--since", "--all")},
		"backfill from the future":        {words("backfill", "a/b", "--since", "2999-01-01"), exitUsage, words("future")},
		"unknown connector":               {words("connectors", "describe", "nope"), exitNotFound, words("there are", "shopify")},
		"whose connection":                {words("connection", "set", "shopify"), exitUsage, words("--user", "--operator")},
		"one owner":                       {words("connection", "set", "shopify", "--user", "a", "--operator"), exitUsage, words("exclude")},
		"no connection":                   {words("connection", "delete", "shopify", "--user", "a"), exitNotFound, words("connection list")},
		"nothing to query":                {words("query", "SELECT 1"), exitNotFound, words("warehouse.duckdb", "makes it with its first batch")},
		"send what":                       {words("send", "a/b", "--op", "merge", "-"), exitUsage, words("upsert or delete")},
		"send no JSON":                    {words("send", "a/b", "-s", "x", "-"), exitUsage, words("JSON")},
		"no such installation's records":  {words("quarantine", "list", "a/b"), exitNotFound, words("no installation a/b", "starter list --all")},
		"no such installation to discard": {words("quarantine", "discard", "a/b", "--all", "--yes"), exitNotFound, words("no installation a/b")},
		"flags that exclude each other":   {words("connection", "set", "shopify", "--operator", "--env", "X", "--file", "y"), exitUsage, words("env", "file", "--help")},
		"settings are an object":          {words("connection", "check", "datastream", "--operator", "--settings", "[1]"), exitUsage, words("JSON object")},
		"none of that user's":             {words("list", "--user", "nobody"), exitOK, words("as asked for", "starter list")},
		"a newline in a name":             {words("install", "customers", "--user", "a\nb"), exitUsage, words("control characters")},
		"no text":                         {words("install", "customers", "--user", "a\xff"), exitUsage, words("control characters")},
		"no such port":                    {words("dev", "--port", "99999"), exitUsage, words("65535")},
		"no such port of the UI":          {words("dev", "--ui-port", "-1"), exitUsage, words("65535")},
		"no such port of the demo's UI":   {words("demo", "--ui-port", "70000"), exitUsage, words("65535")},
		"demo sizes":                      {words("demo", "--changes", "0"), exitUsage, words("--changes")},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := place(t)
			s.in = "not json"
			s.want(c.code, c.say, c.args...)
		})
	}
}

// Where nothing was ever started, commands make no directory and say what to do.
func TestNothingHere(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "nothing")
	s := &shell{T: t, env: map[string]string{"TRIBUTARY_DIR": dir}}
	s.want(exitUnreachable, words("starter dev", dir), "list")
	if found, _ := filepath.Glob(dir + "*"); len(found) > 0 {
		t.Errorf("it made %v", found)
	}
	empty := t.TempDir()
	s.want(exitUnreachable, words("there is no Tributary", "starter dev", empty), "list", "--dir", empty)
	if found, _ := filepath.Glob(empty + "/*"); len(found) > 0 {
		t.Errorf("it made %v", found)
	}
}

// With -o json an error is an object too.
func TestErrorAsJSON(t *testing.T) {
	t.Parallel()
	s := place(t)
	r := s.want(exitNotFound, nil, "quarantine", "show", "1", "-o", "json")
	var e struct {
		Error struct {
			Code    int
			Message string
		}
	}
	if err := json.Unmarshal([]byte(r.err), &e); err != nil || e.Error.Code != exitNotFound || e.Error.Message == "" {
		t.Fatalf("%v: %s", err, r.err)
	}
	if r.out != "" {
		t.Errorf("stdout has %q", r.out)
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	s := place(t)
	warehouse(t, s, `{}`)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if r := s.runContext(ctx, "query", "SELECT * FROM orders"); r.code != exitInterrupted {
		t.Fatalf("status %d: %s", r.code, r.err)
	}
}

// Every command says what it does, those that do something teach by example, and each help text fits a terminal.
func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	s := place(t)
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Short == "" {
			t.Errorf("%s has no short help", c.CommandPath())
		}
		leaf := !c.HasSubCommands() && c.Name() != "exit-codes"
		if leaf && c.Example == "" {
			t.Errorf("%s has no example", c.CommandPath())
		}
		for _, line := range strings.Split(c.Long, "\n") {
			if len(line) > 140 {
				t.Errorf("%s: a line of its help has %d bytes", c.CommandPath(), len(line))
			}
		}
		if c.Runnable() || c.HasSubCommands() { // a topic is only its text
			s.want(exitOK, words(c.Name()), append(strings.Fields(c.CommandPath())[1:], "--help")...)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk((&app{streams: streams{getenv: func(string) string { return "" }}}).root())
}

func TestCompletion(t *testing.T) {
	t.Parallel()
	s := place(t)
	s.want(exitOK, words("starter"), "completion", "bash")
	s.want(exitOK, words("shopify", "datastream"), "__complete", "connectors", "describe", "")
}
