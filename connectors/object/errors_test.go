package object

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
	"tributary/connectors/object/objecttest"
)

// TestS3Errors makes the store give every answer of the table, in the place of each request that a write makes, and wants its kind, what to do
// about it, and nothing of the store's own words.
func TestS3Errors(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	d := opened(t, s, Settings{})
	b := batchOf(100, "orders")
	put(t, s, b, 90, 100)
	for code := range s3Kinds {
		if objecttest.S3Errors[code] == 0 {
			t.Errorf("%s is not documented", code)
		}
	}
	for code, status := range objecttest.S3Errors {
		kind, listed := s3Kinds[code]
		if !listed {
			kind = kindOfStatus(status)
		}
		for _, on := range []string{http.MethodGet, http.MethodPut} {
			s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != on {
					return false
				}
				w.Header().Set("Retry-After", "7")
				s.Fail(w, code)
				return true
			}, nil)
			if on == http.MethodPut && code == "PreconditionFailed" {
				continue // the object is there
			}
			r, err := d.Write(t.Context(), b)
			if kindOf(t, err) != kind {
				t.Errorf("%s to %s: got %v, want %s", code, on, err, kind)
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
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodHead {
				w.WriteHeader(status)
			}
			return r.Method == http.MethodHead
		}, nil)
		if _, err := d.Write(t.Context(), b); kindOf(t, err) != kind {
			t.Errorf("HEAD %d: got %v, want %s", status, err, kind)
		}
	}

	// Codes that any service of AWS may answer count, where their status says less.
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			s.FailAs(w, http.StatusBadRequest, "ThrottlingException")
		}
		return r.Method == http.MethodPut
	}, nil)
	if _, err := d.Write(t.Context(), b); kindOf(t, err) != connectors.RateLimited {
		t.Errorf("a quota of the account: got %v", err)
	}

	// A code that nobody knows goes by its status.
	for status, kind := range map[int]connectors.Kind{400: connectors.Invalid, 403: connectors.Forbidden, 409: connectors.Unavailable, 413: connectors.TooLarge, 500: connectors.Unavailable} {
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut {
				s.FailAs(w, status, "Nameless")
			}
			return r.Method == http.MethodPut
		}, nil)
		if _, err := d.Write(t.Context(), b); kindOf(t, err) != kind {
			t.Errorf("Nameless %d: got %v, want %s", status, err, kind)
		}
	}
	s.Intercept(nil, nil)
	write(t, d, b)
}

// TestGCSErrors is the same for Cloud Storage.
func TestGCSErrors(t *testing.T) {
	t.Parallel()
	s := objecttest.NewGCS(t, nil, gcsReturned)
	d := openOn(t, GCS(), gcsConnection(s), Settings{})
	defer d.Close()
	b := batchOf(100, "orders")
	for reason := range gcsKinds {
		if objecttest.GCSErrors[reason] == 0 {
			t.Errorf("%s is not documented", reason)
		}
	}
	try := func(reason string, status int, kind connectors.Kind) {
		t.Helper()
		for _, on := range []string{"/storage/v1/b/" + bucket + "/o", "/upload/storage/v1/b/" + bucket + "/o"} {
			s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.URL.Path != on {
					return false
				}
				w.Header().Set("Retry-After", "7")
				s.FailAs(w, status, reason)
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
	for reason, status := range objecttest.GCSErrors {
		kind, listed := gcsKinds[reason]
		if !listed {
			kind = kindOfStatus(status)
		}
		if reason != "conditionNotMet" { // the object is there
			try(reason, status, kind)
		}
	}
	for status, kind := range map[int]connectors.Kind{400: connectors.Invalid, 401: connectors.Unauthorized, 403: connectors.Forbidden, 408: connectors.Unavailable, 429: connectors.RateLimited, 502: connectors.Unavailable} {
		try("nameless", status, kind)
	}

	// The token's own server. https://www.rfc-editor.org/rfc/rfc6749#section-5.2
	for status, kind := range map[int]connectors.Kind{400: connectors.Unauthorized, 401: connectors.Unauthorized, 429: connectors.RateLimited, 500: connectors.Unavailable} {
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
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
	s.Intercept(nil)
	write(t, d, b)
}
