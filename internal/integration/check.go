package integration

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/connectors/jq"
)

const (
	minInterval  = Duration(time.Second)
	minRetention = Duration(24 * time.Hour)
	maxAge       = Duration(24 * time.Hour)
)

// checkRoles explains a connector that exists but can't do what it is asked, where the schema would only call its name
// unknown.
func (f *findings) checkRoles(reg *connectors.Registry) {
	root := object(f.doc.root)
	block := func(v any, at []string, role string, can func(connectors.Definition) bool) {
		name, _ := object(v)["connector"].(string)
		def, err := reg.Lookup(name)
		if err != nil {
			return
		}
		if !can(def) {
			var known []string
			for _, n := range reg.Names() {
				if d, err := reg.Lookup(n); err == nil && can(d) {
					known = append(known, n)
				}
			}
			f.add(part(at, "connector"), "%s is not a %s; there are %s", name, role, strings.Join(known, ", "))
			return
		}
		mode, _ := object(v)["mode"].(string)
		if m := connectors.Mode(mode); role == "destination" && (m == connectors.Append || m == connectors.ModeUpsert) && !slices.Contains(def.Modes, m) {
			f.add(part(at, "mode"), "%s cannot %s; it can %s", name, mode, strings.Join(names(def.Modes), ", "))
		}
		layout, _ := object(v)["layout"].(string)
		if role == "destination" && layout == connectors.LayoutColumns && !slices.Contains(layouts(def), layout) {
			f.add(part(at, "layout"), "%s has no layout %s; it has %s", name, layout, strings.Join(layouts(def), ", "))
		}
	}
	block(root["source"], []string{"source"}, "source", func(d connectors.Definition) bool { return d.OpenSource != nil })
	list, _ := root["destinations"].([]any)
	for i, v := range list {
		at := []string{"destinations", strconv.Itoa(i)}
		block(v, at, "destination", func(d connectors.Definition) bool { return d.OpenDestination != nil })
	}
}

// checkSpec finds what a schema can't say. Fields in which something is wrong already are zero.
func (f *findings) checkSpec(s Spec, reg *connectors.Registry) {
	if s.Retention != 0 && s.Retention < minRetention {
		f.add([]string{"retention"}, "is too short; want at least %s", minRetention)
	}
	f.checkSource(s.Source, reg)
	first, listed := make(map[string]int), 0
	for i, d := range s.Destinations {
		for _, name := range d.Streams {
			listed += len(name)
		}
		at := []string{"destinations", strconv.Itoa(i)}
		if before, twice := first[d.Name]; twice && d.Name != "" {
			f.add(part(at, "name"), "destination %d has this name too; each needs one of its own", before+1)
		} else {
			first[d.Name] = i
		}
		f.checkDestination(s, d, at, reg)
	}
	if listed > MaxListedNames {
		f.add([]string{"destinations"}, "list streams with names of %d bytes together; want at most %d: leave streams out where a destination takes all", listed, MaxListedNames)
	}
}

func (f *findings) checkSource(s Source, reg *connectors.Registry) {
	at := []string{"source"}
	f.checkConnection(s.Connector, s.Connection, at, reg)
	trigger := part(at, "trigger")
	interval := part(trigger, "interval")
	kind := s.Trigger.Kind
	switch {
	case kind.Polls() && s.Trigger.Interval == 0 && !f.has(interval):
		f.add(interval, "missing; %s needs one: write {kind: %s, interval: 5m}", kind, kind)
	case kind.Polls() && s.Trigger.Interval < minInterval:
		f.add(interval, "is too short; want at least %s", minInterval)
	case kind == Realtime && f.has(interval):
		f.add(interval, "realtime has none; leave it out, or use both to reconcile at this interval")
	}
	f.checkStreams(s, part(at, "streams"))
	def, err := reg.Lookup(s.Connector)
	if err != nil || def.OpenSource == nil {
		return
	}
	if wrong := cannot(kind, def.Polls, def.Receives); wrong != "" {
		f.add(trigger, "%s %s; use %s", s.Connector, wrong, possible(def.Polls, def.Receives))
		return
	}
	for i, name := range s.Streams {
		j := slices.IndexFunc(def.Streams, func(s connectors.Stream) bool { return s.Name == name })
		if j < 0 {
			continue // the schema has said so, or the connector takes any
		}
		st := def.Streams[j]
		if wrong := cannot(kind, st.Polls, st.Receives); wrong != "" {
			f.add(part(part(at, "streams"), strconv.Itoa(i)), "stream %s of %s %s; use %s", name, s.Connector, wrong, possible(st.Polls, st.Receives))
		}
	}
}

// checkStreams keeps streams within what paths of segments and the state of an installation hold.
func (f *findings) checkStreams(s Source, at []string) {
	total := 0
	for i, name := range s.Streams {
		total += len(name)
		if n := len(url.PathEscape(name)); n > MaxStreamName {
			f.add(part(at, strconv.Itoa(i)), "is too long: it takes %d bytes where records are stored; want at most %d (what is no letter, digit or one of -._~$&+=:@ takes 3 a byte)", n, MaxStreamName)
		}
	}
	if total > MaxStreamNames {
		f.add(at, "have names of %d bytes together; want at most %d: make two integrations of it", total, MaxStreamNames)
	}
	if n := len(s.Streams); s.Trigger.Kind.Polls() && n > MaxPolledStreams {
		f.add(at, "has %d entries; at most %d can be polled: make two integrations of it, or use the trigger realtime", n, MaxPolledStreams)
	}
}

// cannot says why something does not deliver on a trigger; "" = it does.
func cannot(kind TriggerKind, polls, receives bool) string {
	switch {
	case kind.Polls() && !polls:
		return "cannot be polled"
	case kind.Receives() && !receives:
		return "sends no webhooks"
	}
	return ""
}

func possible(polls, receives bool) TriggerKind {
	switch {
	case polls && receives:
		return Both
	case polls:
		return Polling
	}
	return Realtime
}

func (f *findings) checkDestination(s Spec, d Destination, at []string, reg *connectors.Registry) {
	f.checkConnection(d.Connector, d.Connection, at, reg)
	for i, name := range d.Streams {
		if name != "" && len(s.Source.Streams) > 0 && !slices.Contains(s.Source.Streams, "") && !slices.Contains(s.Source.Streams, name) {
			f.add(part(part(at, "streams"), strconv.Itoa(i)), "%s", unknown("stream of this source", name, s.Source.Streams))
		}
	}
	if d.Batch.Age > maxAge {
		f.add(part(part(at, "batch"), "age"), "is too long; want at most %s", maxAge)
	}
	backlog := s.BacklogBytes
	orDefault(&backlog, DefaultBacklogBytes)
	if d.Batch.Bytes > backlog {
		f.add(part(part(at, "batch"), "bytes"), "is more than the backlog of %d bytes holds", backlog)
	}
	layout := d.Layout
	if def, err := reg.Lookup(d.Connector); err == nil {
		orDefault(&layout, layouts(def)[0])
	}
	if d.Schema != "" && layout != connectors.LayoutColumns {
		f.add(part(at, "schema"), "is for layout columns only; set that, or leave it out")
	}
	if _, err := parsePath(d.Select); err != nil {
		f.add(part(at, "select"), "%s", err)
	}
	if _, err := jq.Compile(d.Filter, jq.Variables...); err != nil && d.Filter != "" {
		f.add(part(at, "filter"), "%s", err)
	}
	if _, err := jq.Compile(d.Map, jq.Variables...); err != nil && d.Map != "" {
		f.add(part(at, "map"), "%s", err)
	}
}

func (f *findings) checkConnection(connector, connection string, at []string, reg *connectors.Registry) {
	if def, err := reg.Lookup(connector); err == nil && def.Connection == nil && connection != "" {
		f.add(part(at, "connection"), "%s needs no connection; leave it out", connector)
	}
}

// has reports whether the document says something at a place.
func (f *findings) has(at []string) bool {
	parent := dig(f.doc.root, at[:len(at)-1]...)
	_, ok := parent[at[len(at)-1]]
	return ok
}

func names[T ~string](list []T) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = string(v)
	}
	return out
}
