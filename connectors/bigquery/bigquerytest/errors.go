package bigquerytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"

	"cloud.google.com/go/bigquery/storage/apiv1/storagepb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Returned counts the errors that servers returned.
type Returned struct {
	mu    sync.Mutex
	count map[string]int
}

func (r *Returned) add(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.count == nil {
		r.count = make(map[string]int)
	}
	r.count[name]++
}

// Missing lists the documented errors that were never returned.
func (r *Returned) Missing() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []string
	for name := range restErrors {
		if r.count[name] == 0 {
			missing = append(missing, name)
		}
	}
	for name := range writeErrors {
		if r.count[name] == 0 {
			missing = append(missing, name)
		}
	}
	return missing
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
	s.returned.add(f.reason)
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
	s.returned.add(name)
	st := status.New(writeErrors[name], fmt.Sprintf(format, args...)+" Entity: "+entity)
	if code, ok := storagepb.StorageError_StorageErrorCode_value[name]; ok {
		st, _ = st.WithDetails(&storagepb.StorageError{Code: storagepb.StorageError_StorageErrorCode(code), Entity: entity, ErrorMessage: name})
	}
	return st
}
