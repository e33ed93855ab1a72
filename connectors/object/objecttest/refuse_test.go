package objecttest

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// What a service refuses is refused, and what a writer of objects does is not.
func TestRefuseS3(t *testing.T) {
	t.Parallel()
	const completion = `<CompleteMultipartUpload xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Part><ETag>"e"</ETag><PartNumber>1</PartNumber><ChecksumCRC32>x</ChecksumCRC32></Part></CompleteMultipartUpload>`
	for name, test := range map[string]struct {
		method, path, header, body, want string
	}{
		"object":                {http.MethodPut, "/b/k", "X-Amz-Meta-Tributary-Next: 7", "", ""},
		"checksum":              {http.MethodPut, "/b/k", "X-Amz-Checksum-Crc32: x", "", ""},
		"header of nobody's":    {http.MethodPut, "/b/k", "X-Amz-If-Nobody-Looks: 1", "", "NotImplemented"},
		"longest name":          {http.MethodPut, "/b/" + strings.Repeat("k", 1024), "", "", ""},
		"name too long":         {http.MethodPut, "/b/" + strings.Repeat("k", 1025), "", "", "KeyTooLongError"},
		"metadata too large":    {http.MethodPut, "/b/k", "X-Amz-Meta-A: " + strings.Repeat("x", 2048), "", "MetadataTooLarge"},
		"completion":            {http.MethodPost, "/b/k?uploadId=1", "", completion, ""},
		"completion, cut off":   {http.MethodPost, "/b/k?uploadId=1", "", completion[:50], "MalformedXML"},
		"completion with more":  {http.MethodPost, "/b/k?uploadId=1", "", strings.Replace(completion, "</Part>", "<Size>1</Size></Part>", 1), "MalformedXML"},
		"another's XML":         {http.MethodPost, "/b/k?uploadId=1", "", "<Delete></Delete>", "MalformedXML"},
		"checksum in the wrong": {http.MethodPost, "/b/k?uploadId=1", "", "<CompleteMultipartUpload><ChecksumCRC32>x</ChecksumCRC32></CompleteMultipartUpload>", "MalformedXML"},
	} {
		r := httptest.NewRequest(test.method, test.path, strings.NewReader(test.body))
		if header, value, ok := strings.Cut(test.header, ": "); ok {
			r.Header.Set(header, value)
		}
		if got := refuseS3(r); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

func TestRefuseGCS(t *testing.T) {
	t.Parallel()
	const upload = "/upload/storage/v1/b/exports/o?uploadType=resumable"
	for name, test := range map[string]struct {
		method, path, contentType, body, want string
	}{
		"list":                    {http.MethodGet, "/storage/v1/b/exports/o?prefix=x&startOffset=y", "", "", ""},
		"parameter of nobody's":   {http.MethodGet, "/storage/v1/b/exports/o?prefixes=x", "", "", "invalidParameter"},
		"no generation":           {http.MethodPost, upload + "&ifGenerationMatch=none", "application/json", `{"name": "x"}`, "invalidParameter"},
		"resumable":               {http.MethodPost, upload + "&ifGenerationMatch=0", "application/json", `{"name": "x", "metadata": {"any": "thing"}}`, ""},
		"name in the URL":         {http.MethodPost, upload + "&name=x", "application/json", `{}`, ""},
		"no name":                 {http.MethodPost, upload, "application/json", `{}`, "required"},
		"name too long":           {http.MethodPost, upload, "application/json", `{"name": "` + strings.Repeat("x", 1025) + `"}`, "invalidArgument"},
		"name is a number":        {http.MethodPost, upload, "application/json", `{"name": 7}`, "invalidArgument"},
		"field of nobody's":       {http.MethodPost, upload, "application/json", `{"name": "x", "meta": {}}`, "invalidArgument"},
		"no JSON":                 {http.MethodPost, upload, "application/json", `{"name"`, "parseError"},
		"no type":                 {http.MethodPost, upload, "", `{"name": "x"}`, "parseError"},
		"multipart":               {http.MethodPost, upload, "multipart/related; boundary=b", "--b\r\nContent-Type: application/json\r\n\r\n{\"name\": \"x\"}\r\n--b\r\n\r\ncontent\r\n--b--\r\n", ""},
		"multipart without parts": {http.MethodPost, upload, "multipart/related; boundary=b", "content", "parseError"},
		"part of a resumable one": {http.MethodPost, "/upload/resumable?upload_id=7", "application/x-ndjson", "content", ""},
	} {
		r := httptest.NewRequest(test.method, test.path, strings.NewReader(test.body))
		r.Header.Set("Content-Type", test.contentType)
		if got := refuseGCS(r); got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}
