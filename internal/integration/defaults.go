package integration

import (
	"slices"

	"tributary/connectors"
)

// Defaults makes explicit what the Spec leaves to the defaults, so that a stored revision keeps its meaning when a
// default changes: connections, batches, required, modes, layouts, schema rules, the backlog. It changes no memory of s.
// Connectors that the registry doesn't know keep what they have.
func (s Spec) Defaults(reg *connectors.Registry) Spec {
	orDefault(&s.BacklogBytes, DefaultBacklogBytes)
	s.Source.Connection = connectionName(reg, s.Source.Connector, s.Source.Connection)
	s.Destinations = slices.Clone(s.Destinations)
	for i := range s.Destinations {
		d := &s.Destinations[i]
		d.Connection = connectionName(reg, d.Connector, d.Connection)
		orDefault(&d.Batch.Records, DefaultBatchRecords)
		orDefault(&d.Batch.Bytes, min(DefaultBatchBytes, s.BacklogBytes))
		d.Required = new(d.IsRequired())
		if def, err := reg.Lookup(d.Connector); err == nil && len(def.Modes) > 0 {
			orDefault(&d.Mode, def.Modes[0])
			orDefault(&d.Layout, layouts(def)[0])
		}
		orDefault(&d.Layout, connectors.LayoutRaw)
		if d.Layout == connectors.LayoutColumns {
			orDefault(&d.Schema, connectors.Evolve)
		}
	}
	return s
}

// connectionName is empty only for a connector that needs no credentials.
func connectionName(reg *connectors.Registry, connector, name string) string {
	if def, err := reg.Lookup(connector); err == nil && def.Connection != nil {
		orDefault(&name, DefaultConnection)
	}
	return name
}

// layouts are those that a destination can do.
func layouts(def connectors.Definition) []string {
	if len(def.Layouts) == 0 {
		return []string{connectors.LayoutRaw}
	}
	return def.Layouts
}

func orDefault[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}
