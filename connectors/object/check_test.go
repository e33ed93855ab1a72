package object

import (
	"net/http"
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/object/objecttest"
)

// TestCheck proves that Check says which right is missing on which resource, that it finds a store that ignores conditions, and that it leaves
// nothing behind.
func TestCheck(t *testing.T) {
	t.Parallel()
	s := objecttest.NewS3(t, s3Returned)
	d := opened(t, s, Settings{Path: "raw/{stream}"})
	check := func() error { return d.Check(t.Context()) }
	if err := check(); err != nil {
		t.Fatal(err)
	}
	// Amazon's answer differs from the fake's: https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
	s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			s.Fail(w, "NoSuchKey")
		}
		return r.Method == http.MethodPut
	}, nil)
	if err := check(); err != nil {
		t.Error(err)
	}
	for method, want := range map[string]string{
		http.MethodGet:  "s3:ListBucket on arn:aws:s3:::exports",
		http.MethodHead: "s3:GetObject on arn:aws:s3:::exports/*",
		http.MethodPut:  "s3:PutObject on arn:aws:s3:::exports/*",
	} {
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == method {
				s.Fail(w, "AccessDenied")
			}
			return r.Method == method
		}, nil)
		if err := check(); kindOf(t, err) != connectors.Forbidden || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	s.Intercept(func(_ http.ResponseWriter, r *http.Request) bool {
		r.Header.Del("If-Match")
		return false
	}, nil)
	if err := check(); kindOf(t, err) != connectors.Invalid || !strings.Contains(err.Error(), "conditions of writes") {
		t.Errorf("got %v", err)
	}
	if n := len(s.Objects(t)); n != 0 {
		t.Errorf("%d objects are left", n)
	}
	for _, request := range s.Requests() {
		if !strings.Contains(request, "list-type") && !strings.HasSuffix(request, " /raw/_tributary_check") {
			t.Errorf("request %q is outside of the block's folders", request)
		}
	}
}

// TestCheckGCS is the same for Cloud Storage.
func TestCheckGCS(t *testing.T) {
	t.Parallel()
	s := objecttest.NewGCS(t, nil, gcsReturned)
	d := openOn(t, GCS(), gcsConnection(s), Settings{})
	defer d.Close()
	if err := d.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		"/storage/v1/b/" + bucket + "/o":                         "storage.objects.list on bucket exports",
		"/storage/v1/b/" + bucket + "/o/stream=_tributary_check": "storage.objects.get on bucket exports",
		"/upload/storage/v1/b/" + bucket + "/o":                  "storage.objects.create on bucket exports",
	} {
		s.Intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == path {
				s.Fail(w, "forbidden")
			}
			return r.URL.Path == path
		})
		if err := d.Check(t.Context()); kindOf(t, err) != connectors.Forbidden || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want it to say %q", err, want)
		}
	}
	if n := len(s.Objects(t)); n != 0 {
		t.Errorf("%d objects are left", n)
	}
}
