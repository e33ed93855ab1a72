package segment

import (
	"encoding/xml"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// serveS3 answers the part of the S3 API that a store uses, and returns the store's URL. Conditional
// writes behave as in https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html.
func serveS3(t *testing.T) string {
	var (
		mu      sync.Mutex
		objects = map[string][]byte{}
	)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client gave up: nothing is stored
		}
		mu.Lock()
		defer mu.Unlock()
		key := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, "/bucket"), "/")
		object, found := objects[key]
		switch {
		case r.Method == http.MethodGet && r.URL.Query().Get("list-type") == "2":
			type content struct {
				Key          string
				Size         int
				LastModified string
			}
			var list struct {
				XMLName  xml.Name `xml:"ListBucketResult"`
				Contents []content
			}
			for _, key := range slices.Sorted(maps.Keys(objects)) {
				if strings.HasPrefix(key, r.URL.Query().Get("prefix")) {
					list.Contents = append(list.Contents, content{key, len(objects[key]), time.Now().UTC().Format(time.RFC3339)})
				}
			}
			xml.NewEncoder(w).Encode(list)
		case r.Method == http.MethodPut && found && r.Header.Get("If-None-Match") == "*":
			fail(w, http.StatusPreconditionFailed, "PreconditionFailed")
		case r.Method == http.MethodPut:
			objects[key] = body
		case !found && r.Method != http.MethodDelete:
			fail(w, http.StatusNotFound, "NoSuchKey")
		case r.Method == http.MethodDelete:
			delete(objects, key)
			w.WriteHeader(http.StatusNoContent)
		default:
			w.Header().Set("Content-Length", strconv.Itoa(len(object)))
			w.Write(object)
		}
	}))
	t.Cleanup(server.Close)
	return "s3://bucket?anonymous=true&region=us-east-1&use_path_style=true&request_checksum_calculation=when_required&response_checksum_validation=when_required&endpoint=" + server.URL
}

func fail(w http.ResponseWriter, status int, code string) {
	w.WriteHeader(status)
	xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
	}{Code: code})
}
