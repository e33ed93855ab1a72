package bigquery_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	rest "google.golang.org/api/bigquery/v2"
	"google.golang.org/api/option"

	"tributary/connectors"
	"tributary/connectors/bigquery"
	"tributary/connectors/connectortest"
)

// With the connection of a service account in liveVariable the suite runs in BigQuery itself, in datasets of its own in the key's or the connection's
// project, which it deletes. The account must be allowed to make datasets (roles/bigquery.user, and roles/bigquery.dataEditor). Datasets are made in
// the location that the other variable names; US without it.
const (
	liveVariable = "TRIBUTARY_TEST_BIGQUERY"
	liveLocation = "TRIBUTARY_TEST_BIGQUERY_LOCATION"
)

// livePlace is a dataset of its own. It is read by queries: those see rows as soon as they are committed.
func livePlace(t *testing.T, connection string) connectortest.DestinationPlace {
	t.Helper()
	c, err := connectors.Decode[bigquery.Connection](json.RawMessage(connection))
	if err != nil {
		t.Fatal(err)
	}
	var key struct {
		Project string `json:"project_id"`
	}
	if err := json.Unmarshal([]byte(c.Key), &key); err != nil {
		t.Fatalf("$%s: key: %v", liveVariable, err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute)
	t.Cleanup(cancel)
	service, err := rest.NewService(ctx, option.WithAuthCredentialsJSON(option.ServiceAccount, []byte(c.Key)))
	if err != nil {
		t.Fatal(err)
	}
	project, dataset := cmp.Or(c.Project, key.Project), "tributary_test_"+strings.ToLower(rand.Text()[:12])
	made := &rest.Dataset{DatasetReference: &rest.DatasetReference{ProjectId: project, DatasetId: dataset}, Location: cmp.Or(os.Getenv(liveLocation), "US")}
	if _, err := service.Datasets.Insert(project, made).Context(ctx).Do(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := service.Datasets.Delete(project, dataset).DeleteContents(true).Context(ctx).Do(); err != nil {
			t.Error(err)
		}
	})
	settings := bigquery.Settings{Project: project, Dataset: dataset, JSON: "string"}
	def := bigquery.Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
			return open(t, def, c, settings, connectors.Config{Mode: mode})
		},
		Rows: func(t *testing.T) []connectortest.Row { return liveRows(ctx, t, service, project, dataset) },
	}
}

// liveRows reads all tables that have rows of ours.
func liveRows(ctx context.Context, t *testing.T, service *rest.Service, project, dataset string) (all []connectortest.Row) {
	t.Helper()
	columns := query(ctx, t, service, project, "SELECT table_name FROM `"+dataset+"`.INFORMATION_SCHEMA.COLUMNS WHERE column_name = '_installation'")
	for _, c := range columns {
		found := query(ctx, t, service, project, "SELECT _installation, _stream, _id, _key, _op, _version, data FROM `"+dataset+"`.`"+text(c[0])+"`")
		for _, r := range found {
			named := map[string]*string{"_installation": r[0], "_stream": r[1], "_id": r[2], "_key": r[3], "_op": r[4], "_version": r[5]}
			all = append(all, rowOf(t, named, text(r[6])))
		}
	}
	return all
}

// query returns the cells of all rows; nil is null.
func query(ctx context.Context, t *testing.T, service *rest.Service, project, sql string) (rows [][]*string) {
	t.Helper()
	standard := false
	answer, err := service.Jobs.Query(project, &rest.QueryRequest{Query: sql, UseLegacySql: &standard, TimeoutMs: 60_000}).Context(ctx).Do()
	if err != nil {
		t.Fatal(err)
	}
	complete, page, token, job := answer.JobComplete, answer.Rows, answer.PageToken, answer.JobReference
	for {
		for _, r := range page {
			cells := make([]*string, len(r.F))
			for i, cell := range r.F {
				if s, ok := cell.V.(string); ok {
					cells[i] = &s
				}
			}
			rows = append(rows, cells)
		}
		if complete && token == "" {
			return rows
		}
		more, err := service.Jobs.GetQueryResults(project, job.JobId).Location(job.Location).PageToken(token).TimeoutMs(60_000).Context(ctx).Do()
		if err != nil {
			t.Fatal(err)
		}
		complete, page, token = more.JobComplete, more.Rows, more.PageToken
	}
}
