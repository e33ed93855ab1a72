package integration

import (
	"encoding/json"
	"reflect"
	"testing"
	"time"
)

func TestDuration(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]time.Duration{
		"0s": 0, "500ms": 500 * time.Millisecond, "90s": 90 * time.Second, "5m": 5 * time.Minute, "24h": 24 * time.Hour, "36h": 36 * time.Hour,
		"7d": 7 * 24 * time.Hour, "99999d": 99999 * 24 * time.Hour,
	} {
		var d Duration
		if err := json.Unmarshal([]byte(`"`+s+`"`), &d); err != nil || time.Duration(d) != want {
			t.Errorf("%s: got %s, %v", s, d, err)
		}
		if raw, err := json.Marshal(d); err != nil || string(raw) != `"`+s+`"` {
			t.Errorf("%s is written %s, %v", s, raw, err)
		}
	}
	for s, want := range map[string]string{"60s": "1m", "120m": "2h", "1d": "24h", "1000ms": "1s", "0d": "0s", "9999960s": "166666m", "999960m": "16666h"} {
		d, err := ParseDuration(s)
		if err != nil || d.String() != want {
			t.Errorf("%s: got %s, %v, want %s", s, d, err, want)
		}
		if again, err := ParseDuration(d.String()); err != nil || again != d {
			t.Errorf("%s can't be read again: %v", d, err)
		}
	}
	for _, raw := range []string{`90`, `null`, `"90"`, `""`, `"s"`, `"-5m"`, `"+5m"`, `" 5m"`, `"5m "`, `"1h30m"`, `"1.5h"`, `"5M"`, `"5w"`, `"99999999s"`, `"999999d"`, `"٣m"`, `["5m"]`} {
		var d Duration
		if err := json.Unmarshal([]byte(raw), &d); err == nil {
			t.Errorf("%s is read as %s", raw, d)
		}
	}
	for _, d := range []Duration{-1, 1, Duration(time.Microsecond), Duration(time.Second + 1), 1<<63 - 1} {
		if raw, err := json.Marshal(d); err == nil {
			t.Errorf("%d is written %s", d, raw)
		}
	}
}

func TestTriggerJSON(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]Trigger{
		`"realtime"`:                         {Kind: Realtime},
		`{"kind":"realtime"}`:                {Kind: Realtime},
		` {"kind":"both", "interval":"5m"} `: {Kind: Both, Interval: Duration(5 * time.Minute)},
	} {
		got := Trigger{Interval: 1}
		if err := json.Unmarshal([]byte(raw), &got); err != nil || got != want {
			t.Errorf("%s: got %+v, %v", raw, got, err)
		}
		again := Trigger{}
		if err := json.Unmarshal([]byte(marshal(t, got)), &again); err != nil || again != want {
			t.Errorf("%s does not survive: %+v, %v", raw, again, err)
		}
	}
	var tr Trigger
	if err := json.Unmarshal([]byte(`{"kind":"both","every":"5m"}`), &tr); err == nil {
		t.Error("an unknown field is read")
	}
}

func TestDiff(t *testing.T) {
	t.Parallel()
	yes := true
	spec := func(change func(*Spec)) Spec {
		s := Spec{
			Source: Source{Connector: "shopify", Settings: json.RawMessage(`{"a": 1}`), Trigger: Trigger{Kind: Realtime}, Streams: []string{"a", "b"}},
			Destinations: []Destination{
				{Name: "one", Connector: "duckdb", Settings: json.RawMessage(`{}`)}, {Name: "two", Connector: "duckdb", Streams: []string{"a"}},
			},
		}
		change(&s)
		return s
	}
	for name, c := range map[string]struct {
		change func(*Spec)
		want   Change
	}{
		"nothing": {func(*Spec) {}, Change{}},
		"what means the same": {func(s *Spec) {
			s.Description = "other words"
			s.Source.Settings = json.RawMessage("{ \"a\":1 }")
			s.Destinations[0].Settings = nil
			s.Destinations[0].Required = &yes
			s.Destinations[0], s.Destinations[1] = s.Destinations[1], s.Destinations[0]
		}, Change{}},
		"settings of the source": {func(s *Spec) { s.Source.Settings = json.RawMessage(`{"a":2}`) }, Change{Source: true}},
		"connection":             {func(s *Spec) { s.Source.Connection = "x" }, Change{Source: true}},
		"owner":                  {func(s *Spec) { s.Source.Hidden = true }, Change{Source: true}},
		"interval":               {func(s *Spec) { s.Source.Trigger.Interval = 5 }, Change{Trigger: true}},
		"streams":                {func(s *Spec) { s.Source.Streams = []string{"b", "c"} }, Change{StreamsAdded: []string{"c"}, StreamsRemoved: []string{"a"}}},
		"retention":              {func(s *Spec) { s.Retention = 5 }, Change{Limits: true}},
		"lane added":             {func(s *Spec) { s.Destinations = append(s.Destinations, Destination{Name: "three"}) }, Change{LanesAdded: []string{"three"}}},
		"lane renamed":           {func(s *Spec) { s.Destinations[1].Name = "three" }, Change{LanesAdded: []string{"three"}, LanesRemoved: []string{"two"}}},
		"lane with a filter":     {func(s *Spec) { s.Destinations[1].Filter = "." }, Change{LanesChanged: []string{"two"}}},
		"lane with settings":     {func(s *Spec) { s.Destinations[0].Settings = json.RawMessage(`{"p":1}`) }, Change{LanesChanged: []string{"one"}}},
		"lane with streams":      {func(s *Spec) { s.Destinations[1].Streams = nil }, Change{LanesChanged: []string{"two"}}},
		"lane made optional":     {func(s *Spec) { s.Destinations[0].Required = new(bool) }, Change{LanesChanged: []string{"one"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := Diff(spec(func(*Spec) {}), spec(c.change))
			if !reflect.DeepEqual(got, c.want) {
				t.Errorf("got %+v, want %+v", got, c.want)
			}
			if got.IsZero() != reflect.DeepEqual(c.want, Change{}) {
				t.Error("IsZero does not say so")
			}
		})
	}
}
