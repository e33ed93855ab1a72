package bigquerytest

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	rest "google.golang.org/api/bigquery/v2"
)

// job is one that has run.
type job struct {
	rows [][]string
	err  *failure
}

func (s *Server) query(r *http.Request) (any, *failure) {
	var q rest.QueryRequest
	if f := body(r, &q); f != nil {
		return nil, f
	}
	if f := s.need("bigquery.jobs.create", "Project "+Project); f != nil {
		return nil, f
	}
	if f := located(q.Location); f != nil {
		return nil, f
	}
	s.serial++
	id := fmt.Sprint("job_", s.serial)
	j := s.execute(q.Query, q.QueryParameters)
	s.jobs[id] = j
	if j.err != nil {
		return nil, j.err
	}
	return &rest.QueryResponse{JobComplete: true, Rows: tableRows(j.rows), JobReference: &rest.JobReference{ProjectId: Project, JobId: id, Location: "EU"}}, nil
}

func located(location string) *failure {
	if location != "EU" {
		return fail("notFound", "Not found: Dataset %s:%s was not found in location %s", Project, Dataset, location)
	}
	return nil
}

func (s *Server) queryResults(r *http.Request) (any, *failure) {
	j := s.jobs[r.PathValue("job")]
	if j == nil {
		return nil, fail("notFound", "Not found: Job %s:%s", Project, r.PathValue("job"))
	}
	if j.err != nil {
		return nil, j.err
	}
	return &rest.GetQueryResultsResponse{JobComplete: true, Rows: tableRows(j.rows)}, nil
}

var jobIDRule = regexp.MustCompile(`^[A-Za-z0-9_-]{1,1000}$`)

// insertJob runs a job. An ID is used once, by a job that failed too: https://cloud.google.com/bigquery/docs/running-jobs#generate-jobid
func (s *Server) insertJob(r *http.Request) (any, *failure) {
	var request rest.Job
	if f := body(r, &request); f != nil {
		return nil, f
	}
	if f := s.need("bigquery.jobs.create", "Project "+Project); f != nil {
		return nil, f
	}
	ref := request.JobReference
	if ref == nil || !jobIDRule.MatchString(ref.JobId) || request.Configuration == nil || request.Configuration.Query == nil {
		return nil, fail("invalid", "Invalid job")
	}
	if f := located(ref.Location); f != nil {
		return nil, f
	}
	if s.jobs[ref.JobId] != nil {
		return nil, fail("duplicate", "Already Exists: Job %s:EU.%s", Project, ref.JobId)
	}
	j := s.execute(request.Configuration.Query.Query, request.Configuration.Query.QueryParameters)
	s.jobs[ref.JobId] = j
	return &rest.Job{JobReference: ref, Status: j.status()}, nil
}

func (j *job) status() *rest.JobStatus {
	st := &rest.JobStatus{State: "DONE"}
	if j.err != nil {
		st.ErrorResult = &rest.ErrorProto{Reason: j.err.reason, Message: j.err.message}
	}
	return st
}

func (s *Server) getJob(r *http.Request) (any, *failure) {
	j := s.jobs[r.PathValue("job")]
	if j == nil {
		return nil, fail("notFound", "Not found: Job %s:%s", Project, r.PathValue("job"))
	}
	return &rest.Job{Status: j.status()}, nil
}

func tableRows(rows [][]string) []*rest.TableRow {
	var out []*rest.TableRow
	for _, row := range rows {
		r := &rest.TableRow{}
		for _, v := range row {
			r.F = append(r.F, &rest.TableCell{V: v})
		}
		out = append(out, r)
	}
	return out
}

// Statements that the server knows. A table is `project.dataset.table`, a column `column`.
const (
	tablePart  = "`[^`]+`"
	columnList = "[a-z_]+(?:, [a-z_]+)*"
)

var known = []*regexp.Regexp{
	regexp.MustCompile(`^SELECT 1$`),
	regexp.MustCompile(`^SELECT IFNULL\(MAX\(next\), 0\) FROM ` + tablePart + ` WHERE epoch = @epoch AND lane = @lane$`),
	regexp.MustCompile(`^SELECT number, stream FROM ` + tablePart + ` WHERE epoch = @epoch AND lane = @lane AND table_name = @table ORDER BY number DESC LIMIT 1$`),
	regexp.MustCompile(`^SELECT _ordinal FROM ` + tablePart + ` WHERE _installation = @installation AND _epoch = @epoch AND _lane = @lane AND _ordinal >= @position$`),
	regexp.MustCompile(`^SELECT ordinal, reason FROM ` + tablePart + ` WHERE epoch = @epoch AND lane = @lane AND ordinal >= @first AND ordinal < @next$`),
	regexp.MustCompile(`^INSERT INTO ` + tablePart + ` \(` + columnList + `\) VALUES \((?:@[a-z]+, )+CURRENT_TIMESTAMP\(\)\)$`),
	regexp.MustCompile(`^(?:BEGIN|COMMIT) TRANSACTION$`),
	regexp.MustCompile(`^ASSERT \(SELECT IFNULL\(MAX\(next\), 0\) FROM ` + tablePart + ` WHERE epoch = @epoch AND lane = @lane\) = @position AS '[a-z: ]+'$`),
	regexp.MustCompile(`(?s)^MERGE INTO ` + tablePart + ` AS t USING \(SELECT \* FROM ` + tablePart + ` WHERE _token = @token\d+ AND _staged_at = TIMESTAMP_MICROS\(@staged\d+\)\) AS r\nON .*\nWHEN MATCHED AND .* THEN UPDATE SET .*\nWHEN NOT MATCHED THEN INSERT \(.*\) VALUES \(.*\)$`),
	regexp.MustCompile("^ALTER TABLE " + tablePart + " ALTER COLUMN " + tablePart + " SET DATA TYPE BIGNUMERIC$"),
}

// execute runs a statement, or a script, whose statements are separated by ";\n".
func (s *Server) execute(text string, list []*rest.QueryParameter) *job {
	params := make(map[string]string)
	for _, p := range list {
		value := p.ParameterValue.Value
		switch p.ParameterType.Type {
		case "INT64":
			if _, err := strconv.ParseInt(value, 10, 64); err != nil {
				return &job{err: fail("invalidQuery", "Bad int64 value")}
			}
			params[p.Name] = value
		case "STRING":
			params[p.Name] = "'" + strings.ReplaceAll(value, "'", "''") + "'"
		default:
			return &job{err: fail("invalid", "Unknown parameter type %s", p.ParameterType.Type)}
		}
	}
	j := &job{}
	for _, statement := range strings.Split(strings.TrimSuffix(text, ";"), ";\n") {
		if j.rows, j.err = s.statement(statement, params); j.err != nil {
			_, _ = s.db.ExecContext(context.Background(), "ROLLBACK") // fails where nothing was begun
			return j
		}
	}
	return j
}

func (s *Server) statement(text string, params map[string]string) ([][]string, *failure) {
	shape := -1
	for i, k := range known {
		if k.MatchString(text) {
			shape = i
		}
	}
	if shape < 0 {
		return nil, fail("invalidQuery", "the test server does not know this statement: %s", text)
	}
	alter := strings.HasPrefix(text, "ALTER")
	translated, f := s.translate(text, params)
	if f != nil {
		return nil, f
	}
	switch {
	case alter:
		return nil, s.alter(text)
	case strings.HasPrefix(text, "ASSERT"):
		end := strings.LastIndex(translated, " AS '")
		condition, message := translated[len("ASSERT "):end], translated[end+len(" AS '"):]
		rows, f := s.rows("SELECT " + condition)
		if f == nil && rows[0][0] != "true" {
			f = fail("invalidQuery", "Query error: %s", strings.TrimSuffix(message, "'"))
		}
		return nil, f
	case strings.HasPrefix(text, "SELECT"):
		return s.rows(translated)
	}
	if _, err := s.db.ExecContext(context.Background(), translated); err != nil {
		return nil, fail("invalidQuery", "%v", err)
	}
	return nil, nil
}

var (
	quotedName = regexp.MustCompile("`([^`]*)`")
	parameter  = regexp.MustCompile(`@[a-z]+[0-9]*`)
	functions  = strings.NewReplacer("TIMESTAMP_MICROS(", "make_timestamptz(", "CURRENT_TIMESTAMP()", "now()",
		// The same as an equality, by which the engine can hash: otherwise it compares each row with each.
		"(t._key <> '' OR t._id = r._id)", "if(t._key = '', t._id, '') = if(r._key = '', r._id, '')")
)

// translate makes a statement of the engine's. Names go first, values last: what stands in a value is not looked at.
func (s *Server) translate(text string, params map[string]string) (string, *failure) {
	var f *failure
	text = quotedName.ReplaceAllStringFunc(text, func(m string) string {
		name := strings.Trim(m, "`")
		if id, ok := strings.CutPrefix(name, Project+"."+Dataset+"."); ok {
			if s.tables[id] == nil {
				f = fail("notFound", "Not found: Table %s:%s.%s was not found in location EU", Project, Dataset, id)
				return m
			}
			return s.tables[id].name
		}
		return identifier(name)
	})
	if f != nil {
		return "", f
	}
	text = functions.Replace(text)
	// A column's name may have what looks like a function, but no @ and no parenthesis.
	text = parameter.ReplaceAllStringFunc(text, func(m string) string {
		value, ok := params[m[1:]]
		if !ok {
			f = fail("invalidQuery", "Query parameter '%s' not found", m[1:])
		}
		return value
	})
	return text, f
}

func (s *Server) rows(text string) ([][]string, *failure) {
	rows, err := s.db.QueryContext(context.Background(), text)
	if err != nil {
		return nil, fail("invalidQuery", "%v", err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, fail("invalidQuery", "%v", err)
	}
	all := [][]string{}
	for rows.Next() {
		values, targets := make([]any, len(names)), make([]any, len(names))
		for i := range values {
			targets[i] = &values[i]
		}
		if err := rows.Scan(targets...); err != nil {
			return nil, fail("invalidQuery", "%v", err)
		}
		row := make([]string, len(names))
		for i, v := range values {
			row[i] = fmt.Sprint(v)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fail("invalidQuery", "%v", err)
	}
	return all, nil
}

// alter widens an integer: https://cloud.google.com/bigquery/docs/reference/standard-sql/conversion_rules
func (s *Server) alter(text string) *failure {
	names := quotedName.FindAllStringSubmatch(text, -1)
	t := s.tables[strings.TrimPrefix(names[0][1], Project+"."+Dataset+".")]
	c := field(&t.Table, names[1][1])
	if c == nil || c.Type != "INTEGER" && c.Type != "NUMERIC" && c.Type != "BIGNUMERIC" {
		return fail("invalidQuery", "ALTER TABLE ALTER COLUMN SET DATA TYPE requires that the existing column type is assignable to the new type")
	}
	if _, err := s.db.ExecContext(context.Background(), "ALTER TABLE "+t.name+" ALTER COLUMN "+identifier(c.Name)+" SET DATA TYPE VARCHAR"); err != nil {
		return fail("invalidQuery", "%v", err)
	}
	c.Type = "BIGNUMERIC"
	s.touch(t)
	return nil
}
