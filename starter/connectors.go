package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	"github.com/spf13/cobra"

	"tributary/connectors"
	"tributary/internal/terminal"
)

func (a *app) connectors() *cobra.Command {
	c := &cobra.Command{Use: "connectors", Short: "What sources and destinations there are",
		Long:    "A connector is the code for one app or one destination. These are the ones of this build.",
		Example: "  starter connectors list\n  starter connectors describe shopify"}
	c.AddCommand(&cobra.Command{
		Use: "list", Short: "List connectors", Args: cobra.NoArgs, Example: "  starter connectors list",
		RunE: func(*cobra.Command, []string) error { return a.runConnectorsList() },
	}, &cobra.Command{
		Use: "describe CONNECTOR", Short: "Streams, settings and credentials of a connector", Args: cobra.ExactArgs(1),
		Example:           "  starter connectors describe shopify\n  starter connectors describe postgres -o json",
		ValidArgsFunction: a.completeConnectors,
		RunE:              func(_ *cobra.Command, args []string) error { return a.runConnectorsDescribe(args[0]) },
	})
	return c
}

// connectorRow is a connector at a glance.
type connectorRow struct {
	Name        string   `json:"name"`
	Title       string   `json:"title"`
	Source      bool     `json:"source"`
	Destination bool     `json:"destination"`
	Triggers    []string `json:"triggers,omitempty"`
	Modes       []string `json:"modes,omitempty"`
}

func rowOf(d connectors.Definition) connectorRow {
	r := connectorRow{Name: d.Name, Title: d.Title, Source: d.OpenSource != nil, Destination: d.OpenDestination != nil}
	if d.Receives {
		r.Triggers = append(r.Triggers, "realtime")
	}
	if d.Polls {
		r.Triggers = append(r.Triggers, "polling")
	}
	if d.Receives && d.Polls {
		r.Triggers = append(r.Triggers, "both")
	}
	for _, m := range d.Modes {
		r.Modes = append(r.Modes, string(m))
	}
	return r
}

func (a *app) runConnectorsList() error {
	reg, _, err := a.registry()
	if err != nil {
		return err
	}
	var rows []connectorRow
	for _, name := range reg.Names() {
		d, err := reg.Lookup(name)
		if err != nil {
			return err
		}
		rows = append(rows, rowOf(d))
	}
	return a.print(rows, func(w io.Writer) {
		t := a.table("CONNECTOR", "TITLE", "SOURCE BY", "DESTINATION MODES")
		for _, r := range rows {
			t.Row(r.Name, r.Title, dash(r.Triggers), dash(r.Modes))
		}
		t.Write(w, "")
	})
}

func dash(list []string) string {
	if len(list) == 0 {
		return "-"
	}
	return strings.Join(list, ", ")
}

// described is a connector with all that can be set.
type described struct {
	connectorRow
	Doc        string              `json:"doc"`
	Streams    []connectors.Stream `json:"streams,omitempty"`
	AnyStream  bool                `json:"any_stream,omitempty"`
	AppWide    bool                `json:"app_wide,omitempty"`
	Records    []connectors.Fact   `json:"records,omitempty"`
	Limits     []connectors.Fact   `json:"limits,omitempty"`
	Settings   *jsonschema.Schema  `json:"settings,omitempty"`
	Connection *jsonschema.Schema  `json:"connection,omitempty"`
	App        *jsonschema.Schema  `json:"app,omitempty"`
}

func (a *app) runConnectorsDescribe(name string) error {
	reg, _, err := a.registry()
	if err != nil {
		return err
	}
	d, err := reg.Lookup(name)
	if err != nil {
		return &failure{exitNotFound, err}
	}
	out := described{connectorRow: rowOf(d), Doc: d.Doc, Streams: d.Streams, AnyStream: d.AnyStream, AppWide: d.AppWide, Records: d.Records, Limits: d.Limits}
	if d.Settings != nil {
		out.Settings = schemaOf(d.Settings)
	}
	if d.Connection != nil {
		out.Connection = schemaOf(d.Connection)
	}
	if d.App != nil {
		out.App = schemaOf(d.App)
	}
	return a.print(out, func(w io.Writer) { writeConnector(w, out, terminal.Width(a.out)) })
}

func writeConnector(w io.Writer, d described, width int) {
	if width <= 0 {
		width = 110
	}
	fmt.Fprintf(w, "%s (%s)\n\n%s\n", d.Title, d.Name, wrap(d.Doc, width))
	if d.Source {
		fmt.Fprintf(w, "\nAs a source, by %s\n", strings.Join(d.Triggers, ", "))
		writeStreams(w, d, width)
	}
	if d.Destination {
		fmt.Fprintf(w, "\nAs a destination, in mode %s\n", strings.Join(d.Modes, " or "))
	}
	writeFacts(w, "What a record is", d.Records, width)
	writeFacts(w, "The app's limits, and what is done about them", d.Limits, width)
	writeFields(w, "Settings, in the integration file", d.Settings, width)
	writeFields(w, "Connection, for `starter connection set "+d.Name+"`", d.Connection, width)
	writeFields(w, "App that you have registered with the vendor, for `starter connection set "+d.Name+" --app`", d.App, width)
}

// writeStreams lists the streams, each with all that is said of it: a table would cut that.
func writeStreams(w io.Writer, d described, width int) {
	for _, s := range d.Streams {
		var by []string
		if s.Receives {
			by = append(by, "webhook")
		}
		if s.Polls {
			by = append(by, "poll")
		}
		head := fmt.Sprintf("  %s  by %s", s.Name, strings.Join(by, ", "))
		if s.Needs != "" {
			head += ", needs " + s.Needs
		}
		fmt.Fprintln(w, head)
		fmt.Fprintln(w, indent(wrap(s.Doc, width-6), "      "))
	}
	switch {
	case d.AnyStream && len(d.Streams) > 0:
		fmt.Fprintln(w, "  There are others, by the names that you give.")
	case d.AnyStream:
		fmt.Fprintln(w, "  Streams have the names that you give them.")
	}
}

func writeFacts(w io.Writer, title string, facts []connectors.Fact, width int) {
	if len(facts) == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	for _, f := range facts {
		fmt.Fprintln(w, indent(wrap(f.Name, width-2), "  "))
		fmt.Fprintln(w, indent(wrap(f.Doc, width-6), "      "))
	}
}

// writeFields lists the fields of a schema, those of objects within it by their path.
func writeFields(w io.Writer, title string, s *jsonschema.Schema, width int) {
	if s == nil || s.Properties == nil || s.Properties.Len() == 0 {
		return
	}
	fmt.Fprintf(w, "\n%s\n", title)
	var walk func(prefix string, s *jsonschema.Schema)
	walk = func(prefix string, s *jsonschema.Schema) {
		for p := s.Properties.Oldest(); p != nil; p = p.Next() {
			f := p.Value
			var marks []string
			if slices.Contains(s.Required, p.Key) {
				marks = append(marks, "required")
			}
			if f.Format == "password" {
				marks = append(marks, "secret")
			}
			if f.Default != nil {
				marks = append(marks, fmt.Sprintf("default %v", f.Default))
			}
			if f.Minimum != "" && f.Maximum != "" {
				marks = append(marks, fmt.Sprintf("%s to %s", f.Minimum, f.Maximum))
			}
			if len(f.Enum) > 0 {
				marks = append(marks, fmt.Sprintf("one of %v", f.Enum))
			}
			kind := f.Type
			inner, path := f, prefix+p.Key
			if f.Type == "array" && f.Items != nil {
				kind, inner, path = "list of "+f.Items.Type, f.Items, path+"[]"
			}
			head := fmt.Sprintf("  %s  %s", path, kind)
			if len(marks) > 0 {
				head += " (" + strings.Join(marks, ", ") + ")"
			}
			fmt.Fprintln(w, head)
			if f.Description != "" {
				fmt.Fprintln(w, indent(wrap(f.Description, width-6), "      "))
			}
			if inner.Properties != nil && inner.Properties.Len() > 0 {
				walk(path+".", inner)
			}
		}
	}
	walk("", s)
}

// wrap breaks text at spaces.
func wrap(text string, width int) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return strings.Join(append(lines, line), "\n")
}
