package bigquery

import (
	"context"
	"fmt"
	"net/http"

	rest "google.golang.org/api/bigquery/v2"

	"tributary/connectors"
)

// rights that writing needs on a table, on the dataset while a table is missing, and on the project.
var (
	tableRights = []string{"bigquery.tables.get", "bigquery.tables.getData", "bigquery.tables.update", "bigquery.tables.updateData"}
)

// Check looks at the dataset, runs a job of a constant, which costs nothing, and looks at the tables whose names are known: what is missing, and whether the rights
// to it are there. It changes nothing.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	k := d.client
	found, err := k.rest.Datasets.Get(d.dataset.project, d.dataset.name).Context(ctx).Do()
	if err != nil {
		return k.failed("check", err)
	}
	if err := k.query(ctx, found.Location, "SELECT 1", nil, func([]string) error { return nil }); err != nil {
		return k.failed("check jobs in "+found.Location, err)
	}
	layouts := ownLayouts()
	if name, fixed := d.Options.Name.Fixed(); fixed {
		layouts = append(layouts, d.dataset.recordLayout(tableID(name), d.Options.Mode, d.Options.Layout))
	}
	for _, l := range layouts {
		t, err := k.rest.Tables.Get(d.dataset.project, d.dataset.name, l.id).Context(ctx).Do()
		if isStatus(err, http.StatusNotFound) {
			continue // the first write makes it
		}
		if err != nil {
			return k.failed("check table "+l.id, err)
		}
		if err := l.fits(t); err != nil {
			return err
		}
		if err := d.checkRights(ctx, l.id); err != nil {
			return err
		}
	}
	return nil
}

// checkRights asks which of the rights to a table there are: https://cloud.google.com/bigquery/docs/reference/rest/v2/tables/testIamPermissions
func (d *destination) checkRights(ctx context.Context, id string) error {
	resource := fmt.Sprintf("projects/%s/datasets/%s/tables/%s", d.dataset.project, d.dataset.name, id)
	answer, err := d.client.rest.Tables.TestIamPermissions(resource, &rest.TestIamPermissionsRequest{Permissions: tableRights}).Context(ctx).Do()
	if err != nil {
		return d.client.failed("check rights to "+id, err)
	}
	has := make(map[string]bool)
	for _, p := range answer.Permissions {
		has[p] = true
	}
	for _, p := range tableRights {
		if !has[p] {
			return connectors.Errorf(connectors.Forbidden, "check", "%s on table %s is missing: grant roles/bigquery.dataEditor on dataset %s", p, id, d.dataset.name)
		}
	}
	return nil
}
