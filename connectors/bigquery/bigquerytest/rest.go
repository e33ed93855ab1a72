package bigquerytest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	rest "google.golang.org/api/bigquery/v2"

	"tributary/connectors/connectortest/fault"
)

// handler routes the REST API.
func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /token", s.exchange)
	const dataset = "/bigquery/v2/projects/{project}/datasets/{dataset}"
	for pattern, m := range map[string]struct {
		name string
		run  func(*http.Request) (any, *failure)
	}{
		"GET " + dataset:                                    {"datasets.get", s.getDataset},
		"GET " + dataset + "/tables/{table}":                {"tables.get", s.getTable},
		"POST " + dataset + "/tables":                       {"tables.insert", s.insertTable},
		"PATCH " + dataset + "/tables/{table}":              {"tables.patch", s.patchTable},
		"POST " + dataset + "/tables/{table}":               {"tables.testIamPermissions", s.testPermissions},
		"POST /bigquery/v2/projects/{project}/queries":      {"jobs.query", s.query},
		"GET /bigquery/v2/projects/{project}/queries/{job}": {"jobs.getQueryResults", s.queryResults},
		"POST /bigquery/v2/projects/{project}/jobs":         {"jobs.insert", s.insertJob},
		"GET /bigquery/v2/projects/{project}/jobs/{job}":    {"jobs.get", s.getJob},
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, m.name, m.run) })
	}
	return mux
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, name string, run func(*http.Request) (any, *failure)) {
	befell := s.Befalls(name)
	if befell == fault.Lost {
		panic(http.ErrAbortHandler)
	}
	if reason := s.answers(name); reason != "" {
		w.Header().Set("Retry-After", "7")
		s.refuse(w, fail(reason, "Bad value: %s", Secret))
		return
	}
	answer, f := s.run(r, run)
	switch {
	case befell == fault.Unheard:
		panic(http.ErrAbortHandler)
	case f != nil:
		s.refuse(w, f)
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	}
}

func (s *Server) run(r *http.Request, run func(*http.Request) (any, *failure)) (any, *failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known(r.Header.Get("Authorization")) {
		return nil, fail("authError", "Request had invalid authentication credentials.")
	}
	if p := r.PathValue("project"); p != Project {
		return nil, fail("notFound", "Not found: Project %s", p)
	}
	if d := r.PathValue("dataset"); d != "" && d != Dataset {
		return nil, fail("notFound", "Not found: Dataset %s:%s", Project, d)
	}
	return run(r)
}

func (s *Server) known(authorization string) bool { return authorization == "Bearer "+s.token }

// exchange gives a token for a signed assertion.
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	if s.Befalls("token") != fault.None {
		panic(http.ErrAbortHandler)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	parts := strings.Split(r.FormValue("assertion"), ".")
	good := len(parts) == 3 && r.FormValue("grant_type") == "urn:ietf:params:oauth:grant-type:jwt-bearer"
	if good {
		sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
		signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
		good = rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, sum[:], signature) == nil
	}
	w.Header().Set("Content-Type", "application/json")
	if !good {
		w.WriteHeader(http.StatusBadRequest)
		fmt.Fprint(w, `{"error":"invalid_grant","error_description":"Invalid JWT Signature."}`)
		return
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"access_token": s.token, "expires_in": 3599, "token_type": "Bearer"})
}

// body reads a request strictly.
func body(r *http.Request, into any) *failure {
	text, err := io.ReadAll(r.Body)
	if err != nil {
		return fail("invalid", "Request body is missing")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return fail("invalid", "Invalid JSON payload received. %v", err)
	}
	return nil
}

func (s *Server) need(permission, what string) *failure {
	if s.denied[permission] {
		return fail("accessDenied", "Access Denied: %s: Permission %s denied on %s (or it may not exist).", what, permission, what)
	}
	return nil
}

func (s *Server) getDataset(*http.Request) (any, *failure) {
	if f := s.need("bigquery.datasets.get", "Dataset "+Project+":"+Dataset); f != nil {
		return nil, f
	}
	return &rest.Dataset{DatasetReference: &rest.DatasetReference{ProjectId: Project, DatasetId: Dataset}, Location: "EU", Id: Project + ":" + Dataset}, nil
}

func (s *Server) find(id string) (*stored, *failure) {
	if f := s.need("bigquery.tables.get", "Table "+Project+":"+Dataset+"."+id); f != nil {
		return nil, f
	}
	t := s.tables[id]
	if t == nil {
		return nil, fail("notFound", "Not found: Table %s:%s.%s", Project, Dataset, id)
	}
	return t, nil
}

func (s *Server) getTable(r *http.Request) (any, *failure) {
	t, f := s.find(r.PathValue("table"))
	if f != nil {
		return nil, f
	}
	return &t.Table, nil
}

// engineTypes are how the engine keeps types. Decimals and JSON are text there: the server sees to what they can hold.
var engineTypes = map[string]string{"STRING": "VARCHAR", "INTEGER": "BIGINT", "BOOLEAN": "BOOLEAN", "TIMESTAMP": "TIMESTAMPTZ", "BIGNUMERIC": "VARCHAR", "NUMERIC": "VARCHAR", "JSON": "VARCHAR", "DATE": "DATE", "FLOAT": "DOUBLE"}

// forbidden are the characters that no column's name may have: https://cloud.google.com/bigquery/docs/schemas#flexible-column-names
const forbidden = "!\"$()*,./;?@[\\]^`{}~"

// reserved are the prefixes that no column's name may have: https://cloud.google.com/bigquery/docs/schemas#column_names
var reserved = []string{"_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_sequence_number", "_change_type"}

func (s *Server) insertTable(r *http.Request) (any, *failure) {
	t := &stored{}
	var said struct {
		DefaultCollation *string `json:"defaultCollation"`
	}
	whole, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(whole))
	if f := body(r, &t.Table); f != nil {
		return nil, f
	}
	if _ = json.Unmarshal(whole, &said); said.DefaultCollation == nil { // which is not the same as empty
		t.DefaultCollation = s.collation
	}
	if f := s.need("bigquery.tables.create", "Dataset "+Project+":"+Dataset); f != nil {
		return nil, f
	}
	id := t.TableReference.TableId
	if s.tables[id] != nil {
		return nil, fail("duplicate", "Already Exists: Table %s:%s.%s", Project, Dataset, id)
	}
	if id == "" || len(id) > 1024 || strings.ContainsAny(id, forbidden+"'%#&+:<>=|\t\n") {
		return nil, fail("invalid", "Invalid table ID.")
	}
	fields := t.Schema.Fields
	for _, c := range t.Clustering.Fields {
		if field(&t.Table, c) == nil || len(t.Clustering.Fields) > 4 {
			return nil, fail("invalid", "The field specified for clustering cannot be found in the schema, or there are more than four")
		}
	}
	if p := t.TimePartitioning; p != nil && (field(&t.Table, p.Field) == nil || field(&t.Table, p.Field).Type != "TIMESTAMP" || !slices.Contains([]string{"HOUR", "DAY", "MONTH", "YEAR"}, p.Type)) {
		return nil, fail("invalid", "The field specified for partitioning cannot be found in the schema, or has the wrong type")
	}
	s.serial++
	t.name, t.deep, t.CreationTime, t.Schema = fmt.Sprint("t", s.serial), s.serial, time.Now().UnixMilli()+s.serial, &rest.TableSchema{}
	if _, err := s.db.ExecContext(context.Background(), "CREATE TABLE "+t.name+" (nothing BOOLEAN)"); err != nil {
		return nil, fail("backendError", "%v", err)
	}
	if f := s.addColumns(t, fields); f != nil {
		return nil, f.(*failure)
	}
	s.tables[id] = t
	return &t.Table, nil
}

// addColumns changes the schema and with it the etag.
func (s *Server) addColumns(t *stored, fields []*rest.TableFieldSchema) error {
	for _, c := range fields {
		lower := strings.ToLower(c.Name)
		switch {
		case engineTypes[c.Type] == "":
			return fail("invalid", "Invalid value for type: %s", c.Type)
		case field(&t.Table, c.Name) != nil:
			return fail("invalid", "Field %s already exists in schema", c.Name)
		case c.Name == "" || len([]rune(c.Name)) > 300 || strings.ContainsAny(c.Name, forbidden) || strings.ContainsFunc(c.Name, func(r rune) bool { return r < ' ' }) ||
			slices.ContainsFunc(reserved, func(prefix string) bool { return strings.HasPrefix(lower, prefix) }):
			return fail("invalid", "Invalid field name %q.", c.Name)
		case len([]rune(c.Description)) > 1024:
			return fail("invalid", "The description for field %s is too long", c.Name)
		case len(t.Schema.Fields) >= 10_000:
			return fail("invalid", "Too many columns")
		}
		kind := engineTypes[c.Type]
		if c.Type == "STRING" && c.Collation == "" {
			c.Collation = t.DefaultCollation
		}
		if c.Collation != "" {
			kind += " COLLATE NOCASE"
		}
		if _, err := s.db.ExecContext(context.Background(), "ALTER TABLE "+t.name+" ADD COLUMN "+identifier(c.Name)+" "+kind); err != nil {
			return fail("backendError", "%v", err)
		}
		t.Schema.Fields = append(t.Schema.Fields, c)
	}
	s.touch(t)
	return nil
}

func (s *Server) touch(t *stored) {
	s.serial++
	t.Etag = fmt.Sprintf("etag-%d", s.serial)
}

// patchTable takes a schema that adds columns or changes descriptions: https://cloud.google.com/bigquery/docs/managing-table-schemas
func (s *Server) patchTable(r *http.Request) (any, *failure) {
	t, f := s.find(r.PathValue("table"))
	if f != nil {
		return nil, f
	}
	if f := s.need("bigquery.tables.update", "Table "+r.PathValue("table")); f != nil {
		return nil, f
	}
	var patch rest.Table
	if f := body(r, &patch); f != nil {
		return nil, f
	}
	if match := r.Header.Get("If-Match"); match != "" && match != t.Etag {
		return nil, fail("conditionNotMet", "Precondition check failed.")
	}
	var added []*rest.TableFieldSchema
	kept := 0
	for _, c := range patch.Schema.Fields {
		old := field(&t.Table, c.Name)
		if old == nil {
			if c.Mode == "REQUIRED" {
				return nil, fail("invalid", "Provided Schema does not match Table. Cannot add required fields to an existing schema. (field: %s)", c.Name)
			}
			added = append(added, c)
			continue
		}
		if old.Type != c.Type {
			return nil, fail("invalid", "Provided Schema does not match Table. Field %s has changed type from %s to %s", c.Name, old.Type, c.Type)
		}
		kept++
	}
	if kept != len(t.Schema.Fields) {
		return nil, fail("invalid", "Provided Schema does not match Table. Fields are missing in new schema")
	}
	for _, c := range patch.Schema.Fields {
		if old := field(&t.Table, c.Name); old != nil {
			old.Description = c.Description
		}
	}
	if err := s.addColumns(t, added); err != nil {
		return nil, err.(*failure)
	}
	return &t.Table, nil
}

func (s *Server) testPermissions(r *http.Request) (any, *failure) {
	id, ok := strings.CutSuffix(r.PathValue("table"), ":testIamPermissions")
	if !ok || s.tables[id] == nil {
		return nil, fail("notFound", "Not found: Table %s", id)
	}
	var request rest.TestIamPermissionsRequest
	if f := body(r, &request); f != nil {
		return nil, f
	}
	return &rest.TestIamPermissionsResponse{Permissions: slices.DeleteFunc(request.Permissions, func(p string) bool { return s.denied[p] })}, nil
}

func field(t *rest.Table, name string) *rest.TableFieldSchema {
	if t.Schema == nil {
		return nil
	}
	for _, f := range t.Schema.Fields {
		if strings.EqualFold(f.Name, name) {
			return f
		}
	}
	return nil
}

func identifier(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// selection reads every column of a table as text.
func selection(t *rest.Table) string {
	var parts []string
	for _, f := range t.Schema.Fields {
		part := identifier(f.Name) + "::VARCHAR"
		if f.Type == "TIMESTAMP" {
			part = "strftime(" + identifier(f.Name) + " AT TIME ZONE 'UTC', '%Y-%m-%dT%H:%M:%SZ')"
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ", ")
}
