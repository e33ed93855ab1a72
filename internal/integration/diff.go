package integration

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
)

// Change is what an installation has to do to follow a new revision of its integration.
type Change struct {
	// Source says that another app, account or settings are read: cursors and subscriptions of before mean nothing.
	Source bool
	// Trigger says that the kind or the interval changed.
	Trigger bool
	// Streams that the source reads from now on, and no longer.
	StreamsAdded, StreamsRemoved []string
	// Lanes, which are destinations by name: new, gone, and with any difference at all.
	LanesAdded, LanesRemoved, LanesChanged []string
	// Limits says that the backlog or the retention changed.
	Limits bool
}

// IsZero reports whether a running installation would notice nothing.
func (c Change) IsZero() bool { return reflect.ValueOf(c).IsZero() }

// Diff tells what changes from one revision to another. Both are compared as they would be stored: give it Specs with
// their defaults made explicit.
func Diff(before, after Spec) Change {
	a, b := before.Source, after.Source
	c := Change{
		Source:         a.Connector != b.Connector || a.Connection != b.Connection || a.Hidden != b.Hidden || !sameJSON(a.Settings, b.Settings),
		Trigger:        a.Trigger != b.Trigger,
		StreamsAdded:   without(b.Streams, a.Streams),
		StreamsRemoved: without(a.Streams, b.Streams),
		Limits:         before.BacklogBytes != after.BacklogBytes || before.Retention != after.Retention,
	}
	was := lanes(before)
	is := lanes(after)
	c.LanesAdded = without(is, was)
	c.LanesRemoved = without(was, is)
	for _, d := range after.Destinations {
		for _, old := range before.Destinations {
			if old.Name == d.Name && !sameDestination(old, d) {
				c.LanesChanged = append(c.LanesChanged, d.Name)
			}
		}
	}
	return c
}

func lanes(s Spec) []string {
	var out []string
	for _, d := range s.Destinations {
		out = append(out, d.Name)
	}
	return out
}

func sameDestination(a, b Destination) bool {
	same := sameJSON(a.Settings, b.Settings) && a.IsRequired() == b.IsRequired() && slices.Equal(a.Streams, b.Streams)
	a.Settings, a.Required, a.Streams = nil, nil, nil
	b.Settings, b.Required, b.Streams = nil, nil, nil
	return same && reflect.DeepEqual(a, b)
}

// sameJSON compares settings without regard to white space; no settings are the same as empty ones.
func sameJSON(a, b json.RawMessage) bool {
	return bytes.Equal(compact(a), compact(b))
}

func compact(raw json.RawMessage) []byte {
	if len(raw) == 0 {
		return []byte("{}")
	}
	var out bytes.Buffer
	if json.Compact(&out, raw) != nil {
		return raw
	}
	return out.Bytes()
}

// without lists what is in a and not in b, in a's order.
func without(a, b []string) []string {
	var out []string
	for _, v := range a {
		if !slices.Contains(b, v) {
			out = append(out, v)
		}
	}
	return out
}
