package hubspottest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"

	"tributary/connectors/connectortest/documented"
)

// write answers with JSON.
func (s *Server) write(w http.ResponseWriter, status int, v any) *Refusal {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // of maps, text and numbers
	}
	w.Header().Set("Content-Type", "application/json;charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(raw)
	return nil
}

// Documented are the errors that a server may return, to be given to New and looked at when all tests have run.
func Documented() *documented.Errors {
	names := slices.Concat(categories, policies, tokenErrors)
	for _, status := range statuses {
		names = append(names, strconv.Itoa(status))
	}
	return documented.New(names...)
}

// What the vendor documents: statuses and their meaning, https://developers.hubspot.com/docs/api-reference/error-handling; categories,
// https://developers.hubspot.com/docs/api/error-handling; limits, https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines; and
// why a token is not renewed, https://developers.hubspot.com/docs/api/oauth/tokens
var (
	statuses   = []int{207, 401, 403, 414, 423, 429, 477, 502, 503, 504, 521, 522, 523, 524, 525, 526}
	categories = []string{
		"VALIDATION_ERROR", "INVALID_AUTHENTICATION", "EXPIRED_AUTHENTICATION", "MISSING_SCOPES", "OBJECT_NOT_FOUND", "CONFLICT", "RATE_LIMITS",
	}
	policies    = []string{"TEN_SECONDLY_ROLLING", "SECONDLY", "DAILY"}
	tokenErrors = []string{"BAD_GRANT_TYPE", "BAD_CLIENT_ID", "BAD_CLIENT_SECRET", "BAD_REFRESH_TOKEN"}
)

// fail answers with an error: https://developers.hubspot.com/docs/api/error-handling
func (s *Server) fail(w http.ResponseWriter, f *Refusal) {
	for _, name := range []string{strconv.Itoa(f.Status), f.Category, f.Policy} {
		s.o.Returned.Return(name)
	}
	body := map[string]any{
		"status": "error", "message": f.Message, "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf", "category": f.Category,
	}
	if f.Policy != "" {
		body["errorType"], body["policyName"], body["requestId"] = "RATE_LIMIT", f.Policy, "3d3e35b7-0dae-4b9f-a6e3-9c230cbcf8dd"
	}
	if f.Context != nil {
		body["errors"] = []any{map[string]any{"message": f.Message, "context": f.Context}}
	}
	for name, value := range f.Header {
		w.Header().Set(name, value)
	}
	s.write(w, f.Status, body)
}

func invalid(format string, args ...any) *Refusal {
	return &Refusal{Status: 400, Category: "VALIDATION_ERROR", Message: fmt.Sprintf(format, args...)}
}

// onlyParameters refuses parameters that are not documented, and such as come twice.
func onlyParameters(r *http.Request, names ...string) *Refusal {
	for name, values := range r.URL.Query() {
		if !slices.Contains(names, name) || len(values) != 1 {
			return invalid("Unknown or repeated parameter %s", name)
		}
	}
	return nil
}

// decode reads a body strictly.
func decode(r *http.Request, v any) (size int, refused *Refusal) {
	if r.Header.Get("Content-Type") != "application/json" {
		return 0, &Refusal{Status: 415, Category: "VALIDATION_ERROR", Message: "Unsupported Media Type"}
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return 0, invalid("The body could not be read")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return 0, invalid("Invalid input JSON: %v", err)
	}
	return len(raw), nil
}
