package eventbridgetest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$`)

// verify signs a request once more, as https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html says, and compares. It
// returns the code of what is wrong.
func (s *Server) verify(r *http.Request, body []byte) string {
	header := r.Header.Get("Authorization")
	parts := authorization.FindStringSubmatch(header)
	if parts == nil {
		return "IncompleteSignature"
	}
	keyID, region, service := parts[1], parts[3], parts[4]
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || region != Region || service != "events" && service != "sts" && service != "s3" {
		return "IncompleteSignature"
	}
	if d := time.Since(at); d > 15*time.Minute || d < -15*time.Minute {
		return "RequestExpired"
	}
	s.mu.Lock()
	secret, known := s.secrets[keyID]
	token := s.tokens[keyID]
	s.mu.Unlock()
	if !known || r.Header.Get("X-Amz-Security-Token") != token {
		return "UnrecognizedClientException"
	}
	again, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+r.Host+r.URL.RequestURI(), nil)
	if err != nil {
		return "IncompleteSignature"
	}
	for name := range strings.SplitSeq(parts[5], ";") {
		if name != "host" && name != "content-length" {
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	again.ContentLength = r.ContentLength
	sum := sha256.Sum256(body)
	hash := hex.EncodeToString(sum[:])
	if told := r.Header.Get("X-Amz-Content-Sha256"); told != "" && told != hash {
		return "InvalidSignatureException"
	}
	again.Header.Del("Authorization")
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = service == "s3" })
	if err := signer.SignHTTP(r.Context(), aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: token}, again, hash, service, region, at); err != nil {
		return "IncompleteSignature"
	}
	if again.Header.Get("Authorization") != header {
		return "InvalidSignatureException"
	}
	return ""
}

// assumeRole is https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (s *Server) assumeRole(w http.ResponseWriter, r *http.Request, code string) {
	if code != "" {
		answerXML(w, http.StatusForbidden, "ErrorResponse", "InvalidClientTokenId")
		return
	}
	if err := r.ParseForm(); err != nil || r.Form.Get("Action") != "AssumeRole" || r.Form.Get("RoleSessionName") == "" {
		answerXML(w, http.StatusBadRequest, "ErrorResponse", "ValidationError")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	want, known := s.roles[r.Form.Get("RoleArn")]
	if !known || r.Form.Get("ExternalId") != want {
		answerXML(w, http.StatusForbidden, "ErrorResponse", "AccessDenied")
		return
	}
	keyID := fmt.Sprintf("ASIATEMPORARY%03d", len(s.tokens))
	s.secrets[keyID], s.tokens[keyID] = "secret of "+keyID, "token of "+keyID
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId>`+
		`<SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		keyID, s.secrets[keyID], s.tokens[keyID], time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

// answerXML answers as STS does, whose errors stand in an ErrorResponse, and S3, whose errors stand by themselves.
func answerXML(w http.ResponseWriter, status int, root, code string) {
	type fault struct {
		XMLName xml.Name `xml:"Error"`
		Code    string
		Message string
	}
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	e := fault{Code: code, Message: "said by the server"}
	if root == "Error" {
		_ = xml.NewEncoder(w).Encode(e)
		return
	}
	_ = xml.NewEncoder(w).Encode(struct {
		XMLName xml.Name `xml:"ErrorResponse"`
		Error   fault
	}{Error: e})
}
