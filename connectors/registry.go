package connectors

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Registry holds the connectors of a build. It is made once and not changed.
type Registry struct {
	byName map[string]Definition
	names  []string
}

var nameRule = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)

// NewRegistry refuses, all at once, definitions that share a name or open nothing.
func NewRegistry(defs ...Definition) (*Registry, error) {
	r := &Registry{byName: make(map[string]Definition, len(defs))}
	var problems []string
	for _, d := range defs {
		switch {
		case !nameRule.MatchString(d.Name):
			problems = append(problems, fmt.Sprintf("connector name %q: want lower-case letters, digits and dashes", d.Name))
		case r.byName[d.Name].Name != "":
			problems = append(problems, fmt.Sprintf("connector %q is defined twice", d.Name))
		case d.OpenSource == nil && d.OpenDestination == nil:
			problems = append(problems, fmt.Sprintf("connector %q opens neither a source nor a destination", d.Name))
		case d.OpenDestination != nil && len(d.Modes) == 0:
			problems = append(problems, fmt.Sprintf("connector %q is a destination without modes", d.Name))
		}
		r.byName[d.Name] = d
		r.names = append(r.names, d.Name)
	}
	if problems != nil {
		return nil, fmt.Errorf("connectors: %s", strings.Join(problems, "; "))
	}
	slices.Sort(r.names)
	return r, nil
}

// Names lists the connectors in order.
func (r *Registry) Names() []string { return slices.Clone(r.names) }

// Lookup finds a connector; its error names the ones there are.
func (r *Registry) Lookup(name string) (Definition, error) {
	d, ok := r.byName[name]
	if !ok {
		return Definition{}, Errorf(Invalid, "", "there is no connector %q; there are %s", name, strings.Join(r.names, ", "))
	}
	return d, nil
}
