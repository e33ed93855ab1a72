package bigquery

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	rest "google.golang.org/api/bigquery/v2"

	"tributary/connectors"
)

// parameters of a statement by name: string or int64.
type parameters map[string]any

func (p parameters) list() []*rest.QueryParameter {
	var list []*rest.QueryParameter
	for name, value := range p {
		kind, text := "STRING", ""
		switch v := value.(type) {
		case int64:
			kind, text = "INT64", strconv.FormatInt(v, 10)
		case string:
			text = v
		}
		list = append(list, &rest.QueryParameter{Name: name, ParameterType: &rest.QueryParameterType{Type: kind},
			ParameterValue: &rest.QueryParameterValue{Value: text, ForceSendFields: []string{"Value"}}})
	}
	return list
}

// patience is how long BigQuery lets a request wait for a job before it answers that the job still runs.
const patience = 10_000 // ms

// query runs a statement that only reads and calls f with the text of each row's values, "" for null.
func (k *client) query(ctx context.Context, location, sql string, p parameters, f func(row []string) error) error {
	off := false
	answer, err := k.rest.Jobs.Query(k.config.project, &rest.QueryRequest{
		Query: sql, UseLegacySql: &off, UseQueryCache: &off, ParameterMode: "NAMED", QueryParameters: p.list(), Location: location,
		TimeoutMs: patience, MaxResults: 50_000,
	}).Context(ctx).Do()
	if err != nil {
		return err
	}
	rows, done, page, job := answer.Rows, answer.JobComplete, answer.PageToken, answer.JobReference
	for {
		for _, row := range rows {
			values := make([]string, len(row.F))
			for i, cell := range row.F {
				values[i], _ = cell.V.(string)
			}
			if err := f(values); err != nil {
				return err
			}
		}
		if done && page == "" {
			return nil
		}
		more, err := k.rest.Jobs.GetQueryResults(k.config.project, job.JobId).Location(location).TimeoutMs(patience).MaxResults(50_000).PageToken(page).Context(ctx).Do()
		if err != nil {
			return err
		}
		rows, done, page = more.Rows, more.JobComplete, more.PageToken
	}
}

// once runs statements as the job of a name, of which there is only ever one that succeeds: BigQuery refuses a second job of an ID with 409, and keeps what
// became of the first for half a year (https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid). A job that failed has done nothing, and gives way to the next ID. It
// returns an error of kind Unavailable where another attempt has run it.
func (k *client) once(ctx context.Context, location, name, sql string, p parameters) error {
	off := false
	for try := 0; ; try++ {
		id := fmt.Sprintf("tributary_%s_%d", name, try)
		_, err := k.rest.Jobs.Insert(k.config.project, &rest.Job{
			JobReference: &rest.JobReference{ProjectId: k.config.project, JobId: id, Location: location},
			Configuration: &rest.JobConfiguration{
				Labels: map[string]string{"application": "tributary"},
				Query:  &rest.JobConfigurationQuery{Query: sql, UseLegacySql: &off, UseQueryCache: &off, ParameterMode: "NAMED", QueryParameters: p.list()},
			},
		}).Context(ctx).Do()
		if err == nil {
			return k.wait(ctx, location, id)
		}
		if !isStatus(err, http.StatusConflict) {
			return err
		}
		failed, err := k.outcome(ctx, location, id)
		if err != nil {
			return err
		}
		if !failed {
			return connectors.Errorf(connectors.Unavailable, "run job", "another attempt was first")
		}
	}
}

// wait returns the job's error.
func (k *client) wait(ctx context.Context, location, id string) error {
	for {
		answer, err := k.rest.Jobs.GetQueryResults(k.config.project, id).Location(location).TimeoutMs(patience).MaxResults(0).Context(ctx).Do()
		if err != nil {
			return err
		}
		if answer.JobComplete {
			return nil
		}
	}
}

// outcome waits for the end of a job and says whether it failed.
func (k *client) outcome(ctx context.Context, location, id string) (failed bool, err error) {
	_ = k.wait(ctx, location, id) // what the job itself says counts
	job, err := k.rest.Jobs.Get(k.config.project, id).Location(location).Context(ctx).Do()
	if err != nil {
		return false, err
	}
	if job.Status == nil || job.Status.State != "DONE" {
		return false, connectors.Errorf(connectors.Unavailable, "run job", "another attempt is still at it")
	}
	return job.Status.ErrorResult != nil, nil
}
