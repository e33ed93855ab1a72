package objecttest

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// maxKey is the length of the longest name of an object in bytes. https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
// https://cloud.google.com/storage/docs/objects#naming
const maxKey = 1024

// maxMetadata bounds the names and values of an object's own metadata in bytes. https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingMetadata.html
const maxMetadata = 2 << 10

// s3Headers are those of S3's own that the requests of a writer of objects may have, besides checksums and metadata.
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_PutObject.html, API_CreateMultipartUpload.html, API_CompleteMultipartUpload.html,
// https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
var s3Headers = []string{
	"Acl", "Content-Sha256", "Date", "Decoded-Content-Length", "Expected-Bucket-Owner", "Mp-Object-Size", "Request-Payer", "Sdk-Checksum-Algorithm", "Security-Token",
	"Storage-Class", "Tagging", "Trailer", "User-Agent", "Website-Redirect-Location",
}

// refuseS3 returns the code by which S3 refuses a request that gofakes3 would let pass. A header of S3's that nobody knows "implies functionality
// that is not implemented", and XML "that doesn't conform to the published XSD" is malformed:
// https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
func refuseS3(r *http.Request) string {
	metadata := 0
	for name, values := range r.Header {
		own, ok := strings.CutPrefix(name, "X-Amz-")
		if !ok {
			continue
		}
		if meta, ok := strings.CutPrefix(own, "Meta-"); ok {
			metadata += len(meta) + len(strings.Join(values, ","))
		} else if !slices.Contains(s3Headers, own) && !strings.HasPrefix(own, "Checksum-") {
			return "NotImplemented"
		}
	}
	_, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case len(key) > maxKey:
		return "KeyTooLongError"
	case metadata > maxMetadata:
		return "MetadataTooLarge"
	case r.Method == http.MethodPost && Operation(r) == "uploadId":
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return "IncompleteBody"
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if !isCompletion(body) {
			return "MalformedXML"
		}
	}
	return ""
}

// isCompletion says whether XML has nothing but what https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html names.
func isCompletion(body []byte) bool {
	var path []string
	for d := xml.NewDecoder(bytes.NewReader(body)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return false
		}
		switch token := token.(type) {
		case xml.StartElement:
			path = append(path, token.Name.Local)
			switch at := strings.Join(path, "/"); {
			case at == "CompleteMultipartUpload", at == "CompleteMultipartUpload/Part":
			case at == "CompleteMultipartUpload/Part/ETag", at == "CompleteMultipartUpload/Part/PartNumber":
			case strings.HasPrefix(at, "CompleteMultipartUpload/Part/Checksum") && len(path) == 3:
			default:
				return false
			}
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
}

// gcsParameters are those of https://cloud.google.com/storage/docs/json_api/v1/parameters and of the methods list, get, insert and delete of
// https://cloud.google.com/storage/docs/json_api/v1/objects, and those of uploads: https://cloud.google.com/storage/docs/resumable-uploads
var gcsParameters = []string{
	"alt", "fields", "key", "prettyPrint", "quotaUser", "userProject", "projection", "name", "upload_id", "uploadType",
	"contentEncoding", "generation", "ifGenerationMatch", "ifGenerationNotMatch", "ifMetagenerationMatch", "ifMetagenerationNotMatch", "kmsKeyName", "predefinedAcl",
	"delimiter", "endOffset", "filter", "includeFoldersAsPrefixes", "includeTrailingDelimiter", "matchGlob", "maxResults", "pageToken", "prefix", "softDeleted", "startOffset", "versions",
}

// gcsFields are what a writer may set of an object: https://cloud.google.com/storage/docs/json_api/v1/objects#resource
var gcsFields = []string{
	"acl", "bucket", "cacheControl", "contentDisposition", "contentEncoding", "contentLanguage", "contentType", "contexts", "crc32c", "customTime", "eventBasedHold", "md5Hash",
	"metadata", "name", "retention", "storageClass", "temporaryHold",
}

// refuseGCS returns the reason by which a request is refused that fake-gcs-server would let pass. Google does not say what becomes of parameters and
// fields that it does not know: here they are refused, because they would be a mistake.
func refuseGCS(r *http.Request) string {
	query := r.URL.Query()
	for name := range query {
		if !slices.Contains(gcsParameters, name) {
			return "invalidParameter"
		}
	}
	for _, name := range []string{"generation", "ifGenerationMatch", "ifGenerationNotMatch"} {
		if _, err := strconv.ParseInt(query.Get(name), 10, 64); query.Has(name) && err != nil {
			return "invalidParameter"
		}
	}
	if r.Method != http.MethodPost || query.Has("upload_id") {
		return ""
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return "parseError"
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	resource, err := resourceOf(r.Header.Get("Content-Type"), body)
	var fields map[string]json.RawMessage
	if err != nil || json.Unmarshal(resource, &fields) != nil {
		return "parseError"
	}
	var name string
	for field, value := range fields {
		if !slices.Contains(gcsFields, field) || field == "name" && json.Unmarshal(value, &name) != nil {
			return "invalidArgument"
		}
	}
	if name == "" {
		name = query.Get("name")
	}
	switch {
	case name == "":
		return "required"
	case len(name) > maxKey:
		return "invalidArgument"
	}
	return ""
}

// resourceOf is the description of the object that an upload has at its beginning.
// https://cloud.google.com/storage/docs/uploading-objects#uploading-an-object
func resourceOf(contentType string, body []byte) ([]byte, error) {
	kind, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return nil, err
	}
	if kind != "multipart/related" {
		return body, nil
	}
	part, err := multipart.NewReader(bytes.NewReader(body), parameters["boundary"]).NextPart()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(part)
}

// count notes the error that gofakes3 has answered with.
func (s *S3) count(status int, body []byte) {
	var e struct{ Code string }
	if status >= http.StatusBadRequest && xml.Unmarshal(body, &e) == nil {
		s.returned.Return(e.Code)
	}
}

// counted is an answer of fake-gcs-server, whose errors have no reason; the client goes by the status.
type counted struct {
	http.ResponseWriter
	store *GCS
}

func (c counted) WriteHeader(status int) {
	switch status {
	case http.StatusPreconditionFailed:
		c.store.returned.Return("conditionNotMet")
	case http.StatusNotFound:
		c.store.returned.Return("notFound")
	}
	c.ResponseWriter.WriteHeader(status)
}
