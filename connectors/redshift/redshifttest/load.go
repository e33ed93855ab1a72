package redshifttest

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgproto3"
)

func isCopy(sql string) bool {
	return strings.HasPrefix(strings.ToUpper(strings.TrimSpace(sql)), "COPY")
}

// copySyntax is of https://docs.aws.amazon.com/redshift/latest/dg/r_COPY.html, as far as JSON files of a manifest go.
var (
	copySyntax = regexp.MustCompile(`(?is)^\s*COPY\s+("[^"]+")\s*\(([^)]*)\)\s*FROM\s+'s3://([^/']+)/([^']+)'\s+IAM_ROLE\s+(default|'[^']*')(.*)$`)
	copyOption = regexp.MustCompile(`(?i)^\s*(REGION(?: AS)?\s+'([^']*)'|MANIFEST|(?:FORMAT(?: AS)?\s+)?JSON\s+'auto'|GZIP|TIMEFORMAT(?: AS)?\s+'auto'|COMPUPDATE OFF|STATUPDATE OFF)`)
)

// columnOf is a column that is loaded.
type columnOf struct{ name, kind string }

// rowFailure is what COPY has against a row, with the codes of
// https://docs.aws.amazon.com/redshift/latest/dg/r_Load_Error_Reference.html
type rowFailure struct {
	file    string
	line    int64
	column  columnOf
	code    int
	message string
}

// copy carries out COPY: it reads the files that the manifest names and copies their rows into the table.
func (c *session) copy(sql string) bool {
	m := copySyntax.FindStringSubmatch(sql)
	if m == nil {
		return c.raise(&Failure{"42601", `syntax error at or near "COPY"`, ""})
	}
	if m[5] != "default" && !strings.HasPrefix(m[5], "'arn:") {
		return c.raise(&Failure{"XX000", "Invalid IAM role ARN", ""})
	}
	region, options := "", ""
	for rest := m[6]; strings.TrimSpace(rest) != ""; {
		o := copyOption.FindStringSubmatch(rest)
		if o == nil {
			return c.raise(&Failure{"42601", `syntax error at or near "` + strings.Fields(rest)[0] + `"`, ""})
		}
		if o[2] != "" {
			region = o[2]
		}
		options += " " + strings.ToUpper(strings.TrimSpace(o[0]))
		rest = rest[len(o[0]):]
	}
	if !strings.Contains(options, "JSON") || !strings.Contains(options, "GZIP") || !strings.Contains(options, "MANIFEST") {
		return c.raise(&Failure{"0A000", "the stand-in loads gzipped JSON by manifests alone", ""})
	}
	if f := c.assume(strings.Trim(m[5], "'"), region); f != nil {
		return c.raise(f)
	}
	if c.status == 'E' {
		return c.raise(&Failure{"25P02", "current transaction is aborted, commands ignored until end of transaction block", ""})
	}
	table, _ := fold(m[1])
	columns, f, ok := c.columnsOf(table, m[2])
	if !ok {
		return false
	}
	if f != nil {
		return c.raise(f)
	}
	rows, f, refused := c.rows(m[3], m[4], columns)
	if f != nil {
		return c.raise(f)
	}
	if refused == nil {
		return c.feed("COPY "+table+" ("+m[2]+") FROM STDIN", rows)
	}
	if err := c.report(refused); err != nil {
		return c.raise(&Failure{"XX000", "the stand-in can't report", ""})
	}
	return c.raise(&Failure{"XX000", "Load into table " + table + " failed.  Check 'sys_load_error_detail' system table for details.", ""})
}

// assume looks whether the cluster may read by a role: https://docs.aws.amazon.com/redshift/latest/mgmt/copy-unload-iam-role.html
func (s *Server) assume(role, region string) *Failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.attached[role] {
		return &Failure{"XX000", fmt.Sprintf("User arn:aws:redshift:%s:123456789012:dbuser:warehouse/ada is not authorized to assume IAM Role %s", Region, role), ""}
	}
	if region != "" && region != Region {
		return &Failure{"XX000", "S3ServiceException:The bucket you are attempting to access must be addressed using the specified endpoint. Please send all future requests to this endpoint.,Status 301,Error PermanentRedirect,Rid 5C5EXAMPLE,ExtRid 9yEXAMPLE,CanRetry 1", ""}
	}
	return nil
}

// columnsOf finds the types of the columns.
func (c *session) columnsOf(table, list string) ([]columnOf, *Failure, bool) {
	rows, failed, ok := c.internal("SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = '" + table + "'::regclass AND attnum > 0 AND NOT attisdropped")
	if !ok {
		return nil, nil, false
	}
	if failed != nil {
		return nil, &Failure{failed.Code, failed.Message, ""}, true
	}
	var columns []columnOf
	for name := range strings.SplitSeq(list, ",") {
		name = strings.Trim(strings.TrimSpace(name), `"`)
		i := slices.IndexFunc(rows, func(r []string) bool { return r[0] == name })
		if i < 0 {
			return nil, &Failure{"42703", `column "` + name + `" does not exist`, ""}, true
		}
		columns = append(columns, columnOf{name, rows[i][1]})
	}
	return columns, nil, true
}

// rows are the lines of the files as COPY FROM STDIN takes them.
func (s *Server) rows(bucket, key string, columns []columnOf) ([]byte, *Failure, *rowFailure) {
	content, f := s.object(bucket, key)
	if f != nil {
		return nil, &Failure{f.Code, "Problem reading manifest file - " + f.Message, ""}, nil
	}
	var manifest struct {
		Entries []struct {
			URL       string `json:"url"`
			Mandatory bool   `json:"mandatory"`
		} `json:"entries"`
	}
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&manifest); err != nil || len(manifest.Entries) == 0 {
		return nil, &Failure{"XX000", "Manifest file is not in correct json format", ""}, nil
	}
	s.mu.Lock()
	marker, code := s.refuse, s.refuseCode
	s.mu.Unlock()
	var out []byte
	for _, e := range manifest.Entries {
		bucket, key, ok := strings.Cut(strings.TrimPrefix(e.URL, "s3://"), "/")
		if !ok {
			return nil, &Failure{"XX000", "Manifest file contains an invalid url", ""}, nil
		}
		content, f := s.object(bucket, key)
		if f != nil {
			return nil, f, nil
		}
		z, err := gzip.NewReader(bytes.NewReader(content))
		if err != nil {
			return nil, &Failure{"XX000", "The file is not in gzip format", ""}, nil
		}
		r := bufio.NewReaderSize(z, 1<<20)
		for n := int64(1); ; n++ {
			line, err := r.ReadBytes('\n')
			if err != nil && !errors.Is(err, io.EOF) {
				return nil, &Failure{"XX000", "The file ends in the middle", ""}, nil
			}
			if len(bytes.TrimSpace(line)) > 0 {
				var refused *rowFailure
				if out, refused = appendRow(out, line, columns); refused == nil && marker != "" && bytes.Contains(line, []byte(marker)) {
					refused = &rowFailure{column: columns[len(columns)-1], code: code, message: "Invalid value " + strings.ToValidUTF8(string(line[:min(len(line), 200)]), "")}
				}
				if refused != nil {
					refused.file, refused.line = e.URL, n
					return nil, nil, refused
				}
			}
			if err != nil {
				break
			}
		}
	}
	return out, nil, nil
}

// appendRow appends a line's values in the text format of COPY.
func appendRow(out, line []byte, columns []columnOf) ([]byte, *rowFailure) {
	if len(line) > 4<<20 {
		return out, &rowFailure{code: 1216, message: "Input line is larger than 4 MB"}
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(line, &fields); err != nil {
		return out, &rowFailure{code: 1216, message: "Invalid JSON: " + strings.ToValidUTF8(string(line[:min(len(line), 40)]), "")}
	}
	for i, c := range columns {
		if i > 0 {
			out = append(out, '\t')
		}
		value, refused := load(c, fields[c.name])
		if refused != nil {
			return out, refused
		}
		if value == nil {
			out = append(out, `\N`...)
			continue
		}
		for _, b := range []byte(*value) {
			switch b {
			case '\\', '\t', '\n', '\r':
				out = append(out, '\\', map[byte]byte{'\\': '\\', '\t': 't', '\n': 'n', '\r': 'r'}[b])
			default:
				out = append(out, b)
			}
		}
	}
	return append(out, '\n'), nil
}

var (
	lengthOf  = regexp.MustCompile(`^character varying\((\d+)\)$`)
	wholeRule = regexp.MustCompile(`^-?[0-9]+$`)
	timeRule  = regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(\.\d{1,6})?\+00$`)
)

// load is a value for a column, nil for NULL. https://docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-copy-from-json.html
func load(c columnOf, raw json.RawMessage) (*string, *rowFailure) {
	if raw == nil || string(raw) == "null" {
		return nil, nil
	}
	refuse := func(code int, message string) (*string, *rowFailure) {
		return nil, &rowFailure{column: c, code: code, message: message + strings.ToValidUTF8(string(raw[:min(len(raw), 40)]), "")}
	}
	if c.kind == "super" {
		value, problem := parseSuper(raw)
		if problem != "" {
			return refuse(1224, problem)
		}
		return &value, nil
	}
	text := string(raw)
	if raw[0] == '"' {
		if err := json.Unmarshal(raw, &text); err != nil {
			return refuse(1216, "Invalid JSON string ")
		}
	} else if f, err := strconv.ParseFloat(text, 64); err == nil && c.kind != "bigint" {
		text = strconv.FormatFloat(f, 'g', -1, 64) // a number that is no string goes through floating point
	}
	switch {
	case lengthOf.MatchString(c.kind):
		if limit, _ := strconv.Atoi(lengthOf.FindStringSubmatch(c.kind)[1]); len(text) > limit {
			return refuse(1204, "String length exceeds DDL length ")
		}
		if strings.Contains(text, "\x00") {
			return refuse(1216, "Missing newline: Unexpected character 0x0 found ")
		}
	case c.kind == "bigint":
		if _, err := strconv.ParseInt(text, 10, 64); err != nil || !wholeRule.MatchString(text) {
			return refuse(1207, "Invalid digit ")
		}
	case c.kind == "boolean":
		if text != "true" && text != "false" {
			return refuse(1210, "Unknown boolean format ")
		}
	case c.kind == "timestamp with time zone":
		if !timeRule.MatchString(text) {
			return refuse(1206, "Invalid timestamp format or value ")
		}
	default:
		return refuse(1, "the stand-in does not load this type ")
	}
	return &text, nil
}

// feed copies rows into a table of PostgreSQL's, and the answer to the client.
func (c *session) feed(sql string, rows []byte) bool {
	c.backend.Send(&pgproto3.Query{String: sql})
	if c.backend.Flush() != nil {
		return false
	}
	for {
		message, err := c.backend.Receive()
		if err != nil {
			return false
		}
		switch m := message.(type) {
		case *pgproto3.CopyInResponse:
			for part := range slices.Chunk(rows, 1<<16) {
				c.backend.Send(&pgproto3.CopyData{Data: part})
				if c.backend.Flush() != nil {
					return false
				}
			}
			c.backend.Send(&pgproto3.CopyDone{})
			if c.backend.Flush() != nil {
				return false
			}
		case *pgproto3.ErrorResponse:
			c.client.Send(c.spoken(m))
		case *pgproto3.CommandComplete:
			c.client.Send(&pgproto3.CommandComplete{CommandTag: []byte("COPY")})
		case *pgproto3.ReadyForQuery:
			c.status = m.TxStatus
			c.client.Send(m)
			return c.client.Flush() == nil
		}
	}
}

// report writes the failure of a row into SYS_LOAD_ERROR_DETAIL, which no rollback undoes.
func (c *session) report(f *rowFailure) error {
	c.returned.Return(strconv.Itoa(f.code))
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, c.DSN)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	kind, _, _ := strings.Cut(f.column.kind, "(")
	_, err = conn.Exec(ctx, `INSERT INTO sys_load_error_detail (session_id, database_name, file_name, line_number, column_name, column_type, error_code, error_message)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`, int64(c.pid), Database, f.file, f.line, f.column.name, kind[:min(len(kind), 10)], f.code, f.message[:min(len(f.message), 500)])
	return err
}
