package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tributary/internal/catalog"
)

// What the shell completes comes from the registry and the catalog; where there is none, from nothing.

func (a *app) completeConnectors(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	reg, _, err := a.registry()
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return reg.Names(), cobra.ShellCompDirectiveNoFileComp
}

// completeConnections offers the connectors that have what the flags ask for.
func (a *app) completeConnections(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	names, directive := a.completeConnectors(c, args, prefix)
	reg, _, err := a.registry()
	if err != nil {
		return nil, directive
	}
	ofApp, _ := c.Flags().GetBool("app")
	return slices.DeleteFunc(names, func(name string) bool {
		d, err := reg.Lookup(name)
		return err != nil || ofApp && d.App == nil || !ofApp && d.Connection == nil
	}), directive
}

func (a *app) completeInstallations(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var ids []string
	if len(args) == 0 {
		a.withCatalog(c, func(ctx context.Context, cat *catalog.Catalog) {
			all, _ := cat.Installations(ctx, catalog.Filter{})
			for _, i := range all {
				if strings.HasPrefix(i.ID, prefix) {
					ids = append(ids, i.ID)
				}
			}
		})
	}
	return ids, cobra.ShellCompDirectiveNoFileComp
}

// completeIntegrations also offers files, which install takes.
func (a *app) completeIntegrations(c *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if len(args) == 0 {
		a.withCatalog(c, func(ctx context.Context, cat *catalog.Catalog) {
			all, _ := cat.Integrations(ctx)
			for _, i := range all {
				if strings.HasPrefix(i.Spec.Name, prefix) {
					names = append(names, i.Spec.Name)
				}
			}
		})
	}
	return names, cobra.ShellCompDirectiveDefault
}

func (a *app) withCatalog(c *cobra.Command, use func(context.Context, *catalog.Catalog)) {
	ctx, cancel := context.WithTimeout(c.Context(), 2*time.Second)
	defer cancel()
	s, err := a.open(ctx)
	if err != nil {
		return
	}
	defer s.close()
	use(ctx, s.Catalog)
}
