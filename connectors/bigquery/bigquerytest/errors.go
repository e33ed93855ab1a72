package bigquerytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tributary/connectors/connectortest/documented"
)

// Documented are the errors that a server may return, to be given to New and looked at when all tests have run.
func Documented() *documented.Errors {
	return documented.New(slices.Concat(slices.Collect(maps.Keys(restErrors)), slices.Collect(maps.Keys(writeErrors)))...)
}

// restErrors are the reasons that the server answers with, and their status: https://cloud.google.com/bigquery/docs/error-messages#errortable
var restErrors = map[string]int{
	"accessDenied": http.StatusForbidden, "authError": http.StatusUnauthorized, "backendError": http.StatusServiceUnavailable, "billingNotEnabled": http.StatusForbidden,
	"blocked": http.StatusForbidden, "conditionNotMet": http.StatusPreconditionFailed, "duplicate": http.StatusConflict, "internalError": http.StatusInternalServerError,
	"invalid": http.StatusBadRequest, "invalidQuery": http.StatusBadRequest, "invalidUser": http.StatusBadRequest, "jobBackendError": http.StatusBadRequest,
	"jobInternalError": http.StatusBadRequest, "jobRateLimitExceeded": http.StatusBadRequest, "notFound": http.StatusNotFound, "notImplemented": http.StatusNotImplemented,
	"quotaExceeded": http.StatusForbidden, "rateLimitExceeded": http.StatusForbidden, "resourceInUse": http.StatusBadRequest, "resourcesExceeded": http.StatusBadRequest,
	"responseTooLarge": http.StatusForbidden, "stopped": http.StatusOK, "tableUnavailable": http.StatusBadRequest, "timeout": http.StatusBadRequest,
}

// writeErrors are those of the Storage Write API: google.cloud.bigquery.storage.v1.StorageError.StorageErrorCode, and row errors.
var writeErrors = map[string]codes.Code{
	"STREAM_NOT_FOUND": codes.NotFound, "TABLE_NOT_FOUND": codes.NotFound, "STREAM_FINALIZED": codes.InvalidArgument, "SCHEMA_MISMATCH_EXTRA_FIELDS": codes.InvalidArgument,
	"OFFSET_ALREADY_EXISTS": codes.AlreadyExists, "OFFSET_OUT_OF_RANGE": codes.OutOfRange, "FIELDS_ERROR": codes.InvalidArgument,
	"RESOURCE_EXHAUSTED": codes.ResourceExhausted, "INTERNAL": codes.Internal, "UNAVAILABLE": codes.Unavailable, "ABORTED": codes.Aborted,
	"INVALID_STREAM_STATE": codes.FailedPrecondition, "UNAUTHENTICATED": codes.Unauthenticated, "PERMISSION_DENIED": codes.PermissionDenied,
}

// failure is an answer of the REST API that is an error.
type failure struct{ reason, message string }

func (f *failure) Error() string { return f.reason + ": " + f.message }

func fail(reason, format string, args ...any) *failure {
	return &failure{reason, fmt.Sprintf(format, args...)}
}

// proto is how errors stand in answers and jobs.
func (f *failure) proto() map[string]any {
	return map[string]any{"reason": f.reason, "message": f.message, "domain": "global"}
}

func (s *Server) refuse(w http.ResponseWriter, f *failure) {
	s.returned.Return(f.reason)
	code := restErrors[f.reason]
	if code == 0 || code == http.StatusOK { // "stopped" is what jobs say of themselves
		code = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": code, "message": f.message, "errors": []any{f.proto()}}})
}

// refusal is an error of the Storage Write API.
func (s *Server) refusal(name, entity, format string, args ...any) *status.Status {
	s.returned.Return(name)
	st := status.New(writeErrors[name], fmt.Sprintf(format, args...)+" Entity: "+entity)
	if code, ok := storagepb.StorageError_StorageErrorCode_value[name]; ok {
		st, _ = st.WithDetails(&storagepb.StorageError{Code: storagepb.StorageError_StorageErrorCode(code), Entity: entity, ErrorMessage: name})
	}
	return st
}
