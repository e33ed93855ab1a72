package netsuitetest

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"tributary/connectors/connectortest/documented"
)

// Documented are the errors that a server may return, to be given to New and looked at when all tests have run.
func Documented() *documented.Errors {
	return documented.New(append(slices.Collect(maps.Keys(queryErrors)), tokenErrors...)...)
}

// queryErrors are the codes that queries are refused with, and their status. Those of limits:
// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/bridgehead_1525252812.html, the others:
// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_156570709583.html
var queryErrors = map[string]int{
	"INVALID_LOGIN": http.StatusUnauthorized, "INVALID_HEADER": http.StatusBadRequest, "INVALID_PARAMETER": http.StatusBadRequest,
	"INVALID_CONTENT": http.StatusBadRequest, "METHOD_NOT_ALLOWED": http.StatusMethodNotAllowed, "NONEXISTENT_ID": http.StatusNotFound,
	"INSUFFICIENT_PERMISSION": http.StatusForbidden, "UNEXPECTED_ERROR": http.StatusInternalServerError,
	"CONCURRENCY_LIMIT_EXCEEDED": http.StatusTooManyRequests, "SSS_REQUEST_LIMIT_EXCEEDED": http.StatusBadRequest,
}

// tokenErrors are the codes of the token endpoint, of status 400:
// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_162755359851.html, https://www.rfc-editor.org/rfc/rfc6749#section-5.2
var tokenErrors = []string{"invalid_request", "unsupported_grant_type", "invalid_grant", "invalid_client", "invalid_scope"}

// Fail refuses all requests with a code, of queries or of the token endpoint, until it is called with "".
func (s *Server) Fail(code string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failing = code
}

// failed is what Fail asks for; nil = nothing.
func (s *Server) failed() *failure {
	s.mu.Lock()
	defer s.mu.Unlock()
	if status, ok := queryErrors[s.failing]; ok {
		return &failure{status: status, code: s.failing, detail: "The request failed."}
	}
	return nil
}

// failure is an error answer.
type failure struct {
	status       int
	code, detail string
	query, head  string // what of the request is wrong
}

func (s *Server) refuse(w http.ResponseWriter, f *failure) {
	s.returned.Return(f.code)
	if strings.HasPrefix(f.code, "SSS_") { // as RESTlets spell errors
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(f.status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]string{"code": f.code, "message": f.detail}})
		return
	}
	detail := map[string]string{"detail": f.detail, "o:errorCode": f.code}
	if f.query != "" {
		detail["o:errorQueryParam"] = f.query
	}
	if f.head != "" {
		detail["o:errorHeader"] = f.head
	}
	w.Header().Set("Content-Type", "application/vnd.oracle.resource+json; type=error; charset=UTF-8")
	w.WriteHeader(f.status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "https://www.rfc-editor.org/rfc/rfc9110.html#section-15.5", "title": http.StatusText(f.status), "status": f.status,
		"o:errorDetails": []any{detail},
	})
}
