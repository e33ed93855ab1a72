package snowflake

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/snowflakedb/gosnowflake/v2"

	"tributary/connectors"
	"tributary/connectors/outbound"
	"tributary/connectors/table"
)

// kinds maps error codes to kinds (I9). Snowflake publishes no list of them; these are named by its documentation and its clients:
// https://docs.snowflake.com/en/user-guide/key-pair-auth-troubleshooting, https://docs.snowflake.com/en/user-guide/oauth-snowflake-overview#error-codes,
// https://docs.snowflake.com/en/developer-guide/snowflake-scripting/exceptions and the drivers' errors.py, SnowflakeErrors and errors.go. What is not here goes by its SQLSTATE. The
// table stands in docs/destinations/snowflake.md too.
var kinds = []struct {
	kind  connectors.Kind
	codes []int
}{
	// A wrong, expired or missing password, a key that is not the user's, a JWT that is not valid, a token that is not valid or has expired, a user that is disabled.
	{connectors.Unauthorized, []int{390100, 390144, 390195, 390302, 390303, 390318, 394300, 394301, 394302, 394303, 394304, 394305, 394306, 394307}},
	// An address that a network policy keeps out; a right that is missing; an account that is locked or over its trial.
	{connectors.Forbidden, []int{390420, 390422, 3001, 666}},
	// A role, warehouse, database or schema that does not exist or is not granted; no warehouse.
	{connectors.NotFound, []int{390189, 390201, 606, 90105, gosnowflake.ErrCodeFailedToConnect}},
	// A resource monitor's quota.
	{connectors.RateLimited, []int{90073}},
	// A session or its token has ended: the next one logs in anew.
	{connectors.Unavailable, []int{390104, 390111, 390112, 390113, 390114, 390115}},
	// A statement that was ended, by somebody or for its time; a lock with too many waiters, or that took too long; a deadlock; a transaction that was ended.
	{connectors.Unavailable, []int{604, 605, 625, 630, 90232}},
	// A table or a column vanished, or came: the next attempt looks again.
	{connectors.Unavailable, []int{codeMissing, codeMissingOther, codeInvalidName, codeExists, codeColumnExists}},
	// Internal errors; the driver's own, of the network.
	{connectors.Unavailable, []int{300002, 370001, gosnowflake.ErrCodeServiceUnavailable, gosnowflake.ErrFailedToPostQuery, gosnowflake.ErrFailedToRenewSession, gosnowflake.ErrFailedToCancelQuery,
		gosnowflake.ErrFailedToAuth, gosnowflake.ErrFailedToUploadToStage}},
	// Syntax; values that do not go together; two rows of the stage for one of the table.
	{connectors.Invalid, []int{1003, 1044, 100090}},
}

// Codes that are looked for.
const (
	codeMissing      = 2003 // does not exist or not authorized
	codeMissingOther = 2043
	codeInvalidName  = 904
	codeExists       = 2002
	codeColumnExists = 1430
)

// rowCodes are errors that lie in a row, besides the SQLSTATE classes of data and constraints.
var rowCodes = []int{100035, 100038, 100040, 100046, 100069, 100071, 100072, 100078, 100080, 100132}

func kindOf(e *gosnowflake.SnowflakeError) connectors.Kind {
	for _, k := range kinds {
		if slices.Contains(k.codes, e.Number) {
			return k.kind
		}
	}
	switch {
	case e.Number >= 390000 && e.Number < 400000:
		return connectors.Unauthorized // the codes of logging in
	case e.SQLState == "42501":
		return connectors.Forbidden
	}
	switch class(e) {
	case "08", "40", "53", "57", "58", "XX", "P0":
		return connectors.Unavailable
	case "28":
		return connectors.Unauthorized
	case "0A", "21", "22", "23", "42", "44":
		return connectors.Invalid
	}
	if slices.Contains(rowCodes, e.Number) {
		return connectors.Invalid
	}
	return connectors.Unknown
}

func class(e *gosnowflake.SnowflakeError) string {
	if len(e.SQLState) < 2 {
		return ""
	}
	return e.SQLState[:2]
}

func codeOf(err error) int {
	var e *gosnowflake.SnowflakeError
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// isMissing says that something does not exist, or that the role may not see it: Snowflake tells the two not apart.
func isMissing(err error) bool {
	code := codeOf(err)
	return code == codeMissing || code == codeMissingOther
}

func isTaken(err error) bool { return codeOf(err) == codeColumnExists || codeOf(err) == codeExists }

// inRow says that an error of a statement that carries rows lies in one of them.
func inRow(e *gosnowflake.SnowflakeError) bool {
	if slices.Contains(rowCodes, e.Number) {
		return true
	}
	return kindOf(e) == connectors.Invalid && slices.Contains([]string{"22", "23", "44"}, class(e))
}

// refused is failed for statements that carry rows: an error that lies in one of them is a *table.RowError.
func (t *transaction) refused(op string, err error) error {
	var e *gosnowflake.SnowflakeError
	var login *loginError
	if errors.As(err, &e) && !errors.As(err, &login) && inRow(e) {
		return &table.RowError{Reason: reason(e)}
	}
	return t.failed(op, err)
}

// copyError says that COPY failed.
type copyError struct{ error }

func (e *copyError) Unwrap() error { return e.error }

// reason says why a row was refused in words of our own: Snowflake's message quotes it.
func reason(e *gosnowflake.SnowflakeError) string {
	what := "a value does not fit its column"
	switch e.Number {
	case 100072:
		what = "a column that was added to the table as NOT NULL wants a value, and the payload has none"
	case 100078, 100082:
		what = "a value is longer than its column"
	}
	return fmt.Sprintf("%s (Snowflake's error %06d)", what, e.Number)
}

// failed turns what the driver returned into an *Error. Snowflake's own message is repeated only where it can't quote a row or a secret (I7).
func (s *store) failed(op string, err error) error {
	var known *connectors.Error
	if errors.As(err, &known) {
		return known
	}
	var e *gosnowflake.SnowflakeError
	var login *loginError
	var upload *uploadError
	var copied *copyError
	var stored *storageError
	inLogin := errors.As(err, &login)
	switch {
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded):
		return &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: "timed out or cancelled", Err: err}
	case errors.As(err, &stored):
		return s.pool.bucket.failed(op, stored)
	case errors.As(err, &upload):
		return &connectors.Error{Kind: uploadKind(err), Op: op, Message: "the file did not reach the stage: " + s.uploadProblem(err), Err: err}
	case errors.As(err, &copied) && errors.As(err, &e) && inRow(e):
		// The lines are ours and hold any value: so the file is not what it was, perhaps because another attempt of the lane has removed it, or because the stage
		// points elsewhere.
		s.pool.forget()
		return &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: fmt.Sprintf("the file is not on the stage any more, or can't be read (error %06d)", e.Number), Err: err}
	case errors.As(err, &e):
		return s.answered(op, e, inLogin)
	case strings.Contains(err.Error(), "HTTP Status: 429"): // of the driver, which gives it no type
		return &connectors.Error{Kind: connectors.RateLimited, Op: op, Message: "Snowflake answers too many requests (HTTP 429)", Err: err}
	}
	return outbound.AsError(op, err)
}

// uploadKind is that of what Snowflake answered to PUT, or Unavailable for what the storage did.
func uploadKind(err error) connectors.Kind {
	var e *gosnowflake.SnowflakeError
	if !errors.As(err, &e) {
		return connectors.Unavailable
	}
	if isMissing(e) {
		return connectors.NotFound
	}
	return kindOf(e)
}

func (s *store) uploadProblem(err error) string {
	var e *gosnowflake.SnowflakeError
	switch {
	case !errors.As(err, &e):
		return outbound.AsError("", err).Message
	case isMissing(e):
		return fmt.Sprintf("stage @%s does not exist, or the role may not use it (error %06d); %s", s.place.stage, e.Number, s.grants())
	case e.Number == gosnowflake.ErrFailedToUploadToStage || e.Number >= 260000 && e.Number < 280000:
		return fmt.Sprintf("the storage behind the stage did not take it (error %06d)", e.Number)
	case kindOf(e) == connectors.Forbidden:
		return fmt.Sprintf("the role may not write to stage @%s (error %06d); %s", s.place.stage, e.Number, s.grants())
	case kindOf(e) == connectors.Invalid:
		return fmt.Sprintf("Snowflake refuses it (error %06d): perhaps the stage is external: then the connection needs its stage_url and the credentials of its bucket", e.Number)
	}
	return fmt.Sprintf("Snowflake answered with error %06d", e.Number)
}

// answered describes an error of Snowflake's.
func (s *store) answered(op string, e *gosnowflake.SnowflakeError, login bool) *connectors.Error {
	f := &connectors.Error{Kind: kindOf(e), Op: op, Err: e}
	config := &s.pool.config
	what := ""
	switch {
	case login && f.Kind == connectors.Unavailable && e.Number >= 390000 && e.Number < 400000:
		f.Kind, what = connectors.Unauthorized, "Snowflake does not accept the credentials"
	case e.Number == 390422 || e.Number == 390420:
		what = "a network policy of the account keeps this worker's address out: let an administrator allow it"
	case e.Number == 390189:
		what = fmt.Sprintf("role %q does not exist, or is not granted to the user: let an administrator run GRANT ROLE ... TO USER ...", config.Role)
	case e.Number == 390201 || e.Number == 606:
		what = fmt.Sprintf("there is no warehouse %q that the role may use: name another one, or let an administrator run GRANT USAGE, OPERATE ON WAREHOUSE ... TO ROLE ...", config.Warehouse)
	case e.Number == gosnowflake.ErrCodeFailedToConnect || e.Number == gosnowflake.ErrFailedToAuth && slices.Contains(e.MessageArgs, any(http.StatusNotFound)):
		f.Kind, what = connectors.NotFound, fmt.Sprintf("there is no account %q at %s", config.Account, config.Host)
	case f.Kind == connectors.RateLimited:
		what = "the warehouse's resource monitor has used up its quota"
	case f.Kind == connectors.Unauthorized:
		what = "Snowflake does not accept the credentials, or they have expired"
	case f.Kind == connectors.Forbidden:
		what = "the role lacks a right; " + s.grants()
	case isMissing(e) || isTaken(e) || e.Number == codeInvalidName:
		s.pool.forget()
		what = "a table or column is not where it was: it is looked for again"
	case inRow(e):
		what = reason(e)
	case f.Kind == connectors.Invalid || f.Kind == connectors.Unknown: // may quote a value
		what = "Snowflake refuses the statement"
	default:
		what = "Snowflake ended the statement or is not available"
	}
	f.Message = fmt.Sprintf("%s (error %06d", what, e.Number)
	if e.QueryID != "" {
		f.Message += ", query " + connectors.Clip(e.QueryID, 60)
	}
	f.Message += ")"
	return f
}

// grants is what an administrator has to run.
func (s *store) grants() string {
	role := s.pool.config.Role
	if role == "" {
		role = "<role>"
	}
	schema := s.place.schemaName()
	text := fmt.Sprintf("let an administrator run: GRANT USAGE ON DATABASE %s TO ROLE %s; GRANT USAGE, CREATE TABLE ON SCHEMA %s TO ROLE %s", quote(s.place.database), role, schema, role)
	if s.place.stage != userStage {
		right := "READ, WRITE" // https://docs.snowflake.com/en/user-guide/security-access-control-privileges#stage-privileges
		if s.pool.bucket != nil {
			right = "USAGE"
		}
		text += fmt.Sprintf("; GRANT %s ON STAGE %s TO ROLE %s", right, s.place.stage, role)
	}
	return text
}
