package hubspot

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

const (
	// fieldsFor is how long a list of properties is used before it is asked for again: so late may a new property be noticed.
	fieldsFor = 10 * time.Minute
	// maxLists bounds how many lists are kept; a block that names more streams asks more often.
	maxLists = 100
	// maxProperties is how many properties an object type may have at most, with room: HubSpot allows 1,000 of the user's own.
	maxProperties = 5000
)

// fields knows which properties objects are read with.
type fields struct {
	chosen map[string][]string // by the settings
	mu     sync.Mutex
	listed map[string]list
}

type list struct {
	names []string
	until time.Time
}

// propertyName is an internal name: https://developers.hubspot.com/docs/guides/api/crm/properties
var propertyName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,200}$`)

func newFields(chosen map[string][]string) (*fields, error) {
	for name, properties := range chosen {
		st, err := lookup("settings field properties", name)
		if err != nil {
			return nil, err
		}
		for _, p := range properties {
			if !propertyName.MatchString(p) {
				return nil, connectors.Errorf(connectors.Invalid, "hubspot", "settings field properties: %s: want internal names such as firstname", st.name)
			}
		}
	}
	return &fields{chosen: chosen, listed: map[string]list{}}, nil
}

// of returns the names of a stream's properties, always with the one that says when an object last changed, in order; and how many calls it made.
func (f *fields) of(ctx context.Context, op string, api *client, st stream) (names []string, calls int, err error) {
	now := api.now()
	if names, ok := f.known(st, now); ok {
		return names, 0, nil
	}
	got, err := api.call(ctx, op, http.MethodGet, nil, nil, "crm", "v3", "properties", st.name)
	if err != nil {
		return nil, 1, err
	}
	results := gjson.GetBytes(got.body, "results")
	if !results.IsArray() {
		return nil, 1, connectors.Errorf(connectors.Unavailable, op, "the answer holds no list of properties")
	}
	for _, p := range results.Array() {
		name := p.Get("name").Str
		if !propertyName.MatchString(name) || len(names) == maxProperties {
			return nil, 1, connectors.Errorf(connectors.Unavailable, op, "the answer is no list of properties: one has no usable name, or there are more than %d", maxProperties)
		}
		names = append(names, name)
	}
	names = withModified(names, st)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.listed) >= maxLists {
		clear(f.listed)
	}
	f.listed[st.name] = list{names, now.Add(fieldsFor)}
	return names, 1, nil
}

// known are the names of a stream's properties where nobody must be asked.
func (f *fields) known(st stream, now time.Time) ([]string, bool) {
	if chosen, ok := f.chosen[st.name]; ok {
		return withModified(chosen, st), true
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	have, ok := f.listed[st.name]
	return have.names, ok && now.Before(have.until)
}

func withModified(names []string, st stream) []string {
	out := append([]string{st.modified}, names...)
	slices.Sort(out)
	return slices.Compact(out)
}
