package bigquery

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// reasons maps the reasons of the REST API and of jobs to kinds (I9): https://cloud.google.com/bigquery/docs/error-messages. The table stands in
// docs/destinations/bigquery.md too.
var reasons = map[string]connectors.Kind{
	"accessDenied":         connectors.Forbidden,
	"authError":            connectors.Unauthorized,
	"backendError":         connectors.Unavailable,
	"billingNotEnabled":    connectors.Forbidden,
	"blocked":              connectors.RateLimited,
	"conditionNotMet":      connectors.Unavailable, // somebody else changed the table: it is looked at again
	"duplicate":            connectors.Unavailable,
	"internalError":        connectors.Unavailable,
	"invalid":              connectors.Invalid,
	"invalidQuery":         connectors.Invalid,
	"invalidUser":          connectors.Unauthorized,
	"jobBackendError":      connectors.Unavailable,
	"jobInternalError":     connectors.Unavailable,
	"jobRateLimitExceeded": connectors.RateLimited,
	"notFound":             connectors.NotFound,
	"notImplemented":       connectors.Invalid,
	"quotaExceeded":        connectors.RateLimited,
	"rateLimitExceeded":    connectors.RateLimited,
	"resourceInUse":        connectors.Unavailable,
	"resourcesExceeded":    connectors.TooLarge,
	"responseTooLarge":     connectors.TooLarge,
	"stopped":              connectors.Unavailable,
	"tableUnavailable":     connectors.Unavailable,
	"timeout":              connectors.Unavailable,
}

// statuses is for answers without a known reason.
var statuses = map[int]connectors.Kind{
	http.StatusBadRequest:            connectors.Invalid,
	http.StatusUnauthorized:          connectors.Unauthorized,
	http.StatusForbidden:             connectors.Forbidden,
	http.StatusNotFound:              connectors.NotFound,
	http.StatusConflict:              connectors.Unavailable,
	http.StatusPreconditionFailed:    connectors.Unavailable,
	http.StatusRequestEntityTooLarge: connectors.TooLarge,
	http.StatusTooManyRequests:       connectors.RateLimited,
}

// grpcKinds maps the codes of the Storage Write API: https://cloud.google.com/bigquery/docs/write-api-streaming#error_handling. What says that a stream or
// a table is not as it was comes again, and begins with looking at what there is.
var grpcKinds = map[codes.Code]connectors.Kind{
	codes.Aborted:            connectors.Unavailable,
	codes.AlreadyExists:      connectors.Unavailable, // another attempt's rows
	codes.Canceled:           connectors.Unavailable,
	codes.DeadlineExceeded:   connectors.Unavailable,
	codes.FailedPrecondition: connectors.Unavailable, // the stream was finalized by another attempt
	codes.Internal:           connectors.Unavailable,
	codes.InvalidArgument:    connectors.Invalid,
	codes.NotFound:           connectors.Unavailable, // a stream or a table vanished: the next attempt makes it again
	codes.OutOfRange:         connectors.Unavailable,
	codes.PermissionDenied:   connectors.Forbidden,
	codes.ResourceExhausted:  connectors.RateLimited,
	codes.Unauthenticated:    connectors.Unauthorized,
	codes.Unavailable:        connectors.Unavailable,
	codes.Unimplemented:      connectors.Invalid,
}

// taken are the API's own codes for a stream that is no longer this attempt's, whatever status they come with.
var taken = map[storagepb.StorageError_StorageErrorCode]bool{
	storagepb.StorageError_TABLE_NOT_FOUND:          true,
	storagepb.StorageError_STREAM_NOT_FOUND:         true,
	storagepb.StorageError_STREAM_ALREADY_COMMITTED: true,
	storagepb.StorageError_INVALID_STREAM_STATE:     true,
	storagepb.StorageError_STREAM_FINALIZED:         true,
	storagepb.StorageError_OFFSET_ALREADY_EXISTS:    true,
	storagepb.StorageError_OFFSET_OUT_OF_RANGE:      true,
}

// raced and moved are what a job says whose transaction came too late.
const (
	raced = "due to concurrent update" // https://cloud.google.com/bigquery/docs/transactions#transaction_concurrency
	moved = "tributary: the ledger has moved"
)

// failed turns what the clients returned into an *Error. What BigQuery says is repeated only where it is about names and rights, not about rows (I7).
func (k *client) failed(op string, err error) *connectors.Error {
	var known *connectors.Error
	if errors.As(err, &known) {
		return known
	}
	var retrieve *oauth2.RetrieveError
	if errors.As(err, &retrieve) {
		e := &connectors.Error{Kind: connectors.Unauthorized, Op: op, Message: "Google does not accept the service account's key: it may be deleted, disabled or expired. Make a new key", Err: err}
		if retrieve.Response != nil && (retrieve.Response.StatusCode/100 == 5 || retrieve.Response.StatusCode == http.StatusTooManyRequests) {
			e.Kind, e.Message = connectors.Unavailable, "Google's token server is not available"
		}
		return e
	}
	var answer *googleapi.Error
	if errors.As(err, &answer) {
		return answered(op, answer)
	}
	var token *tokenError
	if errors.As(err, &token) && k.config.key == nil && !errors.Is(err, context.Canceled) && !errors.Is(err, context.DeadlineExceeded) {
		return &connectors.Error{Kind: connectors.Unauthorized, Op: op, Message: "the worker's surroundings have no Google credentials: give the machine a service account, set GOOGLE_APPLICATION_CREDENTIALS, or use a key", Err: err}
	}
	if errors.As(err, &token) {
		return outbound.AsError(op, err)
	}
	if s, ok := status.FromError(err); ok {
		return called(op, s)
	}
	return outbound.AsError(op, err)
}

// answered explains an answer of the REST API, of a job too.
func answered(op string, answer *googleapi.Error) *connectors.Error {
	var reason, message string
	if len(answer.Errors) > 0 {
		reason, message = answer.Errors[0].Reason, answer.Errors[0].Message
	}
	if message == "" {
		message = answer.Message
	}
	e := explain(op, answer.Code, reason, message)
	e.Err = answer
	if seconds, err := strconv.Atoi(answer.Header.Get("Retry-After")); err == nil && seconds > 0 {
		e.Wait = time.Duration(seconds) * time.Second
	}
	return e
}

func explain(op string, code int, reason, message string) *connectors.Error {
	e := &connectors.Error{Kind: connectors.Unknown, Op: op}
	if kind, ok := reasons[reason]; ok {
		e.Kind = kind
	} else if kind, ok := statuses[code]; ok {
		e.Kind = kind
	} else if code/100 == 5 {
		e.Kind = connectors.Unavailable
	}
	said := connectors.Clip(message, 400)
	if reason == "" {
		reason = strconv.Itoa(code)
	}
	switch {
	case strings.Contains(message, moved) || strings.Contains(message, raced):
		e.Kind, e.Message = connectors.Unavailable, "another attempt was first"
		return e
	case reason == "notFound" && strings.HasPrefix(message, "Not found: Table"):
		e.Kind, e.Message = connectors.Unavailable, "a table vanished: the next attempt makes it again"
	case reason == "invalidQuery" || reason == "invalid":
		// The message may quote a value.
		e.Message = "BigQuery refuses the request: a table may have been changed so that rows no longer fit it"
	case e.Kind == connectors.Forbidden:
		e.Message = said + "; grant roles/bigquery.dataEditor on the dataset and roles/bigquery.jobUser on the project"
	case e.Kind == connectors.NotFound:
		e.Message = said + "; make the dataset, or correct project and dataset"
	case e.Kind == connectors.Unauthorized:
		e.Message = "BigQuery does not accept the credentials"
	case reason == "quotaExceeded":
		e.Message = said + "; see the project's quotas"
	default:
		e.Message = said
	}
	if e.Message == "" {
		e.Message = "BigQuery failed without a word"
	}
	e.Message += " (" + reason + ")"
	return e
}

// called explains a status of the Storage Write API, whose own message is not shown: it may quote a row.
func called(op string, s *status.Status) *connectors.Error {
	kind, ok := grpcKinds[s.Code()]
	if !ok {
		kind = connectors.Unknown
	}
	e := &connectors.Error{Kind: kind, Op: op, Err: s.Err()}
	switch {
	case taken[storageCode(s)]:
		e.Kind, e.Message = connectors.Unavailable, "another attempt took over the stream, or it is gone"
	case storageCode(s) == storagepb.StorageError_SCHEMA_MISMATCH_EXTRA_FIELDS:
		// New columns are known to the write API only after a while: https://cloud.google.com/bigquery/docs/write-api#update_the_table_schema
		e.Kind, e.Message = connectors.Unavailable, "the write API does not know the table's new columns yet"
	case s.Code() == codes.InvalidArgument && strings.Contains(s.Message(), "too large"):
		e.Kind, e.Message = connectors.TooLarge, "the request is too large"
	case kind == connectors.Forbidden:
		e.Message = "the credentials may not write: grant roles/bigquery.dataEditor on the dataset"
	case kind == connectors.Unauthorized:
		e.Message = "BigQuery does not accept the credentials"
	case kind == connectors.RateLimited:
		e.Message = "a quota of the Storage Write API is used up; see the project's quotas"
	case s.Code() == codes.Canceled || s.Code() == codes.DeadlineExceeded:
		e.Message = "timed out or cancelled"
	case kind == connectors.Invalid:
		e.Message = "BigQuery refuses the rows as a whole: a column may have been added as REQUIRED or changed its type"
	default:
		e.Message = "the Storage Write API failed"
	}
	e.Message += " (" + s.Code().String() + ")"
	return e
}

// storageCode is the API's own code in a status.
func storageCode(s *status.Status) storagepb.StorageError_StorageErrorCode {
	for _, detail := range s.Details() {
		if e, ok := detail.(*storagepb.StorageError); ok {
			return e.GetCode()
		}
	}
	return storagepb.StorageError_STORAGE_ERROR_CODE_UNSPECIFIED
}

// isStatus says that BigQuery answered with an HTTP status.
func isStatus(err error, code int) bool {
	var answer *googleapi.Error
	return errors.As(err, &answer) && answer.Code == code
}
