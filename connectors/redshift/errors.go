package redshift

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/outbound"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

var advice = outbound.Advice{Public: "make the endpoint publicly accessible", Trusted: "give the endpoint's own name and, as sslrootcert, the authority that signed it"}

// sign is how an error of Redshift's own is told: it has no SQLSTATE but XX000, so by its words. The table stands in docs/destinations/redshift.md too.
type sign struct {
	words  *regexp.Regexp
	kind   connectors.Kind
	advice string
}

// https://docs.aws.amazon.com/redshift/latest/dg/c_serial_isolation-serializable-isolation-troubleshooting.html,
// https://docs.aws.amazon.com/redshift/latest/dg/s3serviceexception-error.html,
// https://docs.aws.amazon.com/redshift/latest/mgmt/copy-unload-iam-role.html,
// https://docs.aws.amazon.com/redshift/latest/dg/queries-troubleshooting.html
var signs = []sign{
	{regexp.MustCompile(`(?i)serializable isolation violation|^(ERROR:\s*)?1023\b|could not serialize`), connectors.Unavailable, "another transaction changed the same tables (1023)"},
	{regexp.MustCompile(`(?i)deadlock detected`), connectors.Unavailable, "another transaction locked the same tables in another order"},
	{regexp.MustCompile(`(?i)not authorized to assume IAM Role|is not associated to cluster|role .*not (attached|associated|found)|default (IAM )?role`), connectors.Forbidden,
		"Redshift can't assume iam_role: attach the role to the cluster or workgroup, and let its trust policy allow redshift.amazonaws.com, or redshift-serverless.amazonaws.com, sts:AssumeRole"},
	{regexp.MustCompile(`(?i)cancell?ed (on user's request|by WLM)|aborted by WLM|abort(ed)? (by )?query monitoring`), connectors.Unavailable, "the statement was cancelled by a time limit, a rule of the workload management or an administrator"},
	{regexp.MustCompile(`(?i)disk full|out of memory|insufficient memory`), connectors.Unavailable, "the cluster has no room left"},
	{regexp.MustCompile(`(?i)quota exceeded|usage limit|\b(?-i:RPU)`), connectors.Unavailable, "a usage limit of the workgroup is reached"},
	{regexp.MustCompile(`(?i)connection limit|too many connections`), connectors.Unavailable, "the database takes no more connections"},
}

var (
	// s3Sign is how COPY tells what S3 answered: https://docs.aws.amazon.com/redshift/latest/dg/s3serviceexception-error.html
	s3Sign = regexp.MustCompile(`S3ServiceException.*?Status ([0-9]{3}),\s*Error ([A-Za-z]+)`)
	// goneSign is how it tells that a file is not there.
	goneSign = regexp.MustCompile(`(?i)specified (S3 )?(prefix|key|path).*does not exist`)
	// loadSign is how it tells that a row was refused: https://docs.aws.amazon.com/redshift/latest/dg/copy-usage_notes-error.html
	loadSign = regexp.MustCompile(`(?i)(stl|sys)_load_error|Load into table .* failed`)
	// valueSign is how casting a value fails at a statement that has no SQLSTATE for it.
	valueSign = regexp.MustCompile(`(?i)^(ERROR:\s*)?(numeric data overflow|overflow|invalid digit|value too long|invalid (input|data|json|value)|error converting|date/time field|string length exceeds|super value|json parsing)`)
)

// failed turns what pgx returned into an *Error. The server's own message is repeated only where it speaks of names and rights: others may quote a row (I7).
func (p *pool) failed(op string, err error) *connectors.Error {
	var e *connectors.Error
	if errors.As(err, &e) {
		return e
	}
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return pgwire.Unreached(p.Config().ConnConfig, advice, op, err)
	}
	e = p.answered(op, pg)
	e.Err = err
	return e
}

// answered explains what the server said.
func (p *pool) answered(op string, pg *pgconn.PgError) *connectors.Error {
	if strings.HasPrefix(pg.Code, "42") {
		p.ready.Forget()
	}
	text := pg.Message + " " + pg.Detail
	for _, s := range signs {
		if s.words.MatchString(text) {
			return connectors.Errorf(s.kind, op, "%s (SQLSTATE %s)", s.advice, pg.Code)
		}
	}
	if m := s3Sign.FindStringSubmatch(text); m != nil {
		return p.files.refused(op, m[2], m[1])
	}
	if goneSign.MatchString(text) {
		return connectors.Errorf(connectors.Unavailable, op, "a file of the load is gone: another attempt may have been first")
	}
	kind := pgwire.KindOf(pg.Code)
	message := "Redshift failed"
	switch pg.Code[:min(2, len(pg.Code))] {
	case "28":
		message = "the user or the password is not accepted"
		if p.login != nil {
			if p.login.forget() {
				return connectors.Errorf(connectors.Unavailable, op, "the password that IAM gave is not accepted any more: another is asked for (SQLSTATE %s)", pg.Code)
			}
			message = "the user that IAM gave a password for is not accepted: it may not be there; make it by CREATE USER " + quote(p.user()) + " PASSWORD DISABLE"
		}
	case "3D", "3F", "42":
		message = connectors.Clip(pg.Message, 400)
	case "08", "25", "40", "53", "55", "57", "58":
		message = "Redshift can't do it now"
	case "0A", "22", "23", "44", "54":
		message = "Redshift refused it"
	}
	return connectors.Errorf(kind, op, "%s (SQLSTATE %s)", message, pg.Code)
}

// refused is what S3 answered to Redshift, which read by its role.
func (f *files) refused(op, code, status string) *connectors.Error {
	role := "the role of iam_role"
	switch code {
	case "AccessDenied":
		return connectors.Errorf(connectors.Forbidden, op, "%s may not read the bucket (%s %s); %s", role, code, status, f.roleGrant())
	case "NoSuchKey":
		return connectors.Errorf(connectors.Unavailable, op, "a file of the load is gone: another attempt may have been first (%s %s)", code, status)
	case "NoSuchBucket":
		return connectors.Errorf(connectors.NotFound, op, "there is no bucket %q (%s %s)", f.bucket, code, status)
	case "PermanentRedirect", "AuthorizationHeaderMalformed":
		return connectors.Errorf(connectors.Invalid, op, "the bucket is in another region: set region in the connection (%s %s)", code, status)
	}
	m := amazon.MeaningOf(code, 0)
	return connectors.Errorf(m.Kind, op, "Redshift can't read the bucket: %s (%s %s)", m.Advice, code, status)
}

// refused is failed for statements that carry rows: an error that lies in a row is a *table.RowError.
func (s *store) refused(op string, err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		if pg.Code == "23502" {
			if s.layout == connectors.LayoutColumns && !strings.HasPrefix(pg.ColumnName, "_") && pg.ColumnName != "" {
				return &table.RowError{Reason: fmt.Sprintf("column %q wants a value and the payload has none (SQLSTATE %s)", pg.ColumnName, pg.Code)}
			}
			s.pool.ready.Forget()
			return connectors.Errorf(connectors.Invalid, op, "a column was added to the table as NOT NULL without a default: give it one")
		}
		if pgwire.InRow(pg.Code) || valueSign.MatchString(pg.Message) {
			return &table.RowError{Reason: fmt.Sprintf("Redshift refused a value of it (SQLSTATE %s)", pg.Code)}
		}
	}
	return s.failed(op, err)
}

// isLoadError says that COPY found a row to be wrong.
func isLoadError(pg *pgconn.PgError) bool { return loadSign.MatchString(pg.Message + " " + pg.Detail) }

// explain is failed for what happens in a schema: it says what to grant where a right is missing.
func (p *pool) explain(schema, op string, err error) *connectors.Error {
	e := p.failed(op, err)
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || pg.Code != "42501" {
		return e
	}
	e.Message += "; " + p.grants(schema).Lacking(op)
	return e
}

func (p *pool) grants(schema string) pgwire.Grants {
	return pgwire.GrantsFor(p.user(), p.Config().ConnConfig.Database, schema)
}

// unmet says that an object was not written because it is there.
func unmet(err error) bool {
	code, _, _ := amazon.Answer(err)
	return code == "PreconditionFailed"
}

// failed explains what S3 answered to us.
func (f *files) failed(op string, err error) *connectors.Error {
	var none *amazon.NoCredentials
	if errors.As(err, &none) {
		return &connectors.Error{Kind: none.Kind(), Op: op, Message: none.Message, Err: err}
	}
	code, status, answered := amazon.Answer(err)
	if !answered || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return outbound.AsError(op, err)
	}
	m := amazon.MeaningOf(code, status)
	switch {
	case code == "PermanentRedirect", code == "AuthorizationHeaderMalformed", status == 301:
		m = amazon.Meaning{Kind: connectors.Invalid, Advice: "the bucket is in another region: set region in the connection"}
	case m.Kind == connectors.Forbidden:
		m.Advice = "the access key may not write to the bucket; " + f.keyGrant()
	case code == "NoSuchBucket", status == 404:
		m = amazon.Meaning{Kind: connectors.NotFound, Advice: fmt.Sprintf("there is no bucket %q in the region", f.bucket)}
	}
	what := fmt.Sprintf("HTTP %d", status)
	if amazon.IsCode(code) {
		what = code
	}
	return &connectors.Error{Kind: m.Kind, Op: op, Message: fmt.Sprintf("%s (%s)", m.Advice, what), Err: err}
}

func (f *files) keyGrant() string {
	return fmt.Sprintf(`let an administrator allow: {"Effect":"Allow","Action":["s3:PutObject","s3:DeleteObject"],"Resource":"arn:aws:s3:::%s/%s/*"}`, f.bucket, f.prefix)
}

func (f *files) roleGrant() string {
	return fmt.Sprintf(`let an administrator allow it: {"Effect":"Allow","Action":"s3:GetObject","Resource":"arn:aws:s3:::%s/%s/*"} and {"Effect":"Allow","Action":["s3:ListBucket","s3:GetBucketLocation"],"Resource":"arn:aws:s3:::%s"}`,
		f.bucket, f.prefix, f.bucket)
}
