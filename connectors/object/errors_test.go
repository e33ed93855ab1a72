package object

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// TestS3Errors makes the store give every answer of the table, in the place of each request that a write makes, and wants its kind, what to do
// about it, and nothing of the store's own words.
func TestS3Errors(t *testing.T) {
	t.Parallel()
	s := serveS3(t)
	d := opened(t, s, Settings{})
	b := batchOf(100, "orders")
	s.put(t, b, 90, 100)
	// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
	statuses := map[string]int{
		"AccessDenied": 403, "AccountProblem": 403, "AllAccessDisabled": 403, "AuthorizationHeaderMalformed": 400, "BadDigest": 400,
		"ConditionalRequestConflict": 409, "EntityTooLarge": 400, "ExpiredToken": 400, "IncompleteBody": 400, "InternalError": 500, "InvalidAccessKeyId": 403,
		"InvalidObjectState": 403, "InvalidSecurity": 403, "InvalidToken": 400, "NoSuchBucket": 404, "NoSuchKey": 404, "NoSuchUpload": 404, "NotImplemented": 501,
		"NotSignedUp": 403, "OperationAborted": 409, "PermanentRedirect": 301, "RequestTimeout": 400, "RequestTimeTooSkewed": 403, "ServiceUnavailable": 503,
		"SignatureDoesNotMatch": 403, "SlowDown": 503, "TemporaryRedirect": 307, "TokenRefreshRequired": 400,
	}
	if want := slices.Sorted(maps.Keys(s3Kinds)); !slices.Equal(want, slices.Sorted(maps.Keys(statuses))) {
		t.Fatalf("the table has %q", want)
	}
	for code, status := range statuses {
		for _, on := range []string{http.MethodGet, http.MethodPut} {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != on {
					return false
				}
				w.Header().Set("Retry-After", "7")
				s3Error(w, status, code)
				return true
			}, nil)
			r, err := d.Write(t.Context(), b)
			if kindOf(t, err) != s3Kinds[code] {
				t.Errorf("%s to %s: got %v, want %s", code, on, err, s3Kinds[code])
				continue
			}
			if e := err.(*connectors.Error); !strings.Contains(e.Message, code) || strings.Contains(e.Error(), secret) || !strings.Contains(e.Message, s3Advice[code]) || e.Wait != 7*time.Second {
				t.Errorf("%s to %s: %q, wait %v", code, on, e.Error(), e.Wait)
			}
			if r.Outcomes[0] != connectors.Again {
				t.Errorf("%s to %s: outcome %d", code, on, r.Outcomes[0])
			}
		}
	}

	// An answer to HEAD has no body and so no code.
	for status, kind := range map[int]connectors.Kind{400: connectors.Invalid, 401: connectors.Unauthorized, 403: connectors.Forbidden, 404: connectors.Unavailable,
		301: connectors.Invalid, 429: connectors.RateLimited, 500: connectors.Unavailable, 503: connectors.Unavailable} {
		s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(status)
			}
			return r.Method == http.MethodHead
		}, nil)
		if _, err := d.Write(t.Context(), b); kindOf(t, err) != kind {
			t.Errorf("HEAD %d: got %v, want %s", status, err, kind)
		}
	}

	// A code that nobody knows goes by its status.
	for status, kind := range map[int]connectors.Kind{400: connectors.Invalid, 403: connectors.Forbidden, 409: connectors.Unavailable, 413: connectors.TooLarge, 500: connectors.Unavailable} {
		s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				s3Error(w, status, "Nameless")
			}
			return r.Method == http.MethodPut
		}, nil)
		if _, err := d.Write(t.Context(), b); kindOf(t, err) != kind {
			t.Errorf("Nameless %d: got %v, want %s", status, err, kind)
		}
	}
	s.intercept(nil, nil)
	write(t, d, b)
}

// TestGCSErrors is the same for Cloud Storage.
func TestGCSErrors(t *testing.T) {
	t.Parallel()
	s := serveGCS(t, func(upstream string) string { return upstream })
	d := openOn(t, GCS(), gcsConnection(s), Settings{})
	defer d.Close()
	b := batchOf(100, "orders")
	// https://cloud.google.com/storage/docs/json_api/v1/status-codes
	statuses := map[string]int{
		"accountDisabled": 403, "authError": 401, "backendError": 503, "conflict": 409, "dailyLimitExceeded": 403, "forbidden": 403, "internalError": 500, "notFound": 404,
		"quotaExceeded": 403, "rateLimitExceeded": 429, "required": 401, "uploadTooLarge": 413, "userProjectMissing": 400, "userRateLimitExceeded": 403,
	}
	if want := slices.Sorted(maps.Keys(gcsKinds)); !slices.Equal(want, slices.Sorted(maps.Keys(statuses))) {
		t.Fatalf("the table has %q", want)
	}
	try := func(reason string, status int, kind connectors.Kind) {
		t.Helper()
		for _, on := range []string{"/storage/v1/b/" + bucket + "/o", "/upload/storage/v1/b/" + bucket + "/o"} {
			s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != on {
					return false
				}
				w.Header().Set("Retry-After", "7")
				gcsError(w, status, reason)
				return true
			})
			r, err := d.Write(t.Context(), b)
			if kindOf(t, err) != kind {
				t.Errorf("%s %d to %s: got %v, want %s", reason, status, on, err, kind)
				continue
			}
			e := err.(*connectors.Error)
			if _, known := gcsKinds[reason]; known != strings.Contains(e.Message, reason) || strings.Contains(e.Error(), secret) || !strings.Contains(e.Message, gcsAdvice[reason]) {
				t.Errorf("%s to %s: %q", reason, on, e.Error())
			}
			if e.Wait != 7*time.Second && status != http.StatusNotFound {
				t.Errorf("%s %d to %s: wait %v %+v", reason, status, on, e.Wait, e.Err)
			}
			if r.Outcomes[0] != connectors.Again {
				t.Errorf("%s to %s: outcome %d", reason, on, r.Outcomes[0])
			}
		}
	}
	for reason, status := range statuses {
		try(reason, status, gcsKinds[reason])
	}
	for status, kind := range map[int]connectors.Kind{400: connectors.Invalid, 401: connectors.Unauthorized, 403: connectors.Forbidden, 408: connectors.Unavailable, 429: connectors.RateLimited, 502: connectors.Unavailable} {
		try("nameless", status, kind)
	}

	// The token's own server. https://www.rfc-editor.org/rfc/rfc6749#section-5.2
	for status, kind := range map[int]connectors.Kind{400: connectors.Unauthorized, 401: connectors.Unauthorized, 429: connectors.RateLimited, 500: connectors.Unavailable} {
		s.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/token" {
				w.WriteHeader(status)
				w.Write([]byte(`{"error": "invalid_grant", "error_description": "` + secret + `"}`))
			}
			return r.URL.Path == "/token"
		})
		fresh := openOn(t, GCS(), gcsConnection(s), Settings{})
		if _, err := fresh.Write(t.Context(), b); kindOf(t, err) != kind || strings.Contains(err.Error(), secret) {
			t.Errorf("token %d: got %v, want %s", status, err, kind)
		}
		fresh.Close()
	}
	s.intercept(nil)
	write(t, d, b)
}
