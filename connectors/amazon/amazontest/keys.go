// Package amazontest is what stand-ins for services of AWS have in common: access keys by which requests must be signed, roles that may be assumed, and
// buckets of S3.
package amazontest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
)

// Region is where the servers are, Account whose they are.
const (
	Region  = "eu-central-1"
	Account = "123456789012"
)

// Keys are the access keys and roles of an account.
type Keys struct {
	services []string

	mu      sync.Mutex
	secrets map[string]string // by access key ID
	tokens  map[string]string // by access key ID, of temporary ones
	roles   map[string]string // external IDs by ARN
}

// NewKeys is an account with one access key. Requests are signed for one of the services.
func NewKeys(keyID, secret string, services ...string) *Keys {
	return &Keys{services: services, secrets: map[string]string{keyID: secret}, tokens: make(map[string]string), roles: make(map[string]string)}
}

// CreateRole makes a role that the access keys may assume with the external ID.
func (k *Keys) CreateRole(arn, externalID string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.roles[arn] = externalID
}

var authorization = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=([^/,]+)/(\d{8})/([^/,]+)/([^/,]+)/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$`)

// Verify signs a request once more, as https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html says, and compares. It
// returns the code of what is wrong.
func (k *Keys) Verify(r *http.Request, body []byte) string {
	header := r.Header.Get("Authorization")
	parts := authorization.FindStringSubmatch(header)
	if parts == nil {
		return "IncompleteSignature"
	}
	keyID, region, service := parts[1], parts[3], parts[4]
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil || region != Region || !slices.Contains(k.services, service) {
		return "IncompleteSignature"
	}
	if d := time.Since(at); d > 15*time.Minute || d < -15*time.Minute {
		return "RequestExpired"
	}
	k.mu.Lock()
	secret, known := k.secrets[keyID]
	token := k.tokens[keyID]
	k.mu.Unlock()
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

// ServiceOf is the service that a request is signed for; "" where it is not signed.
func ServiceOf(r *http.Request) string {
	parts := authorization.FindStringSubmatch(r.Header.Get("Authorization"))
	if parts == nil {
		return ""
	}
	return parts[4]
}

// IsSTS says that a request is for STS.
func IsSTS(r *http.Request) bool {
	return r.Method == http.MethodPost && r.URL.Path == "/" && strings.HasPrefix(r.Header.Get("Content-Type"), "application/x-www-form-urlencoded")
}

// AssumeRole answers a request for STS, which failed Verify with the code: https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html
func (k *Keys) AssumeRole(w http.ResponseWriter, r *http.Request, code string) {
	if code != "" {
		AnswerXML(w, http.StatusForbidden, "ErrorResponse", "InvalidClientTokenId")
		return
	}
	if err := r.ParseForm(); err != nil || r.Form.Get("Action") != "AssumeRole" || r.Form.Get("RoleSessionName") == "" {
		AnswerXML(w, http.StatusBadRequest, "ErrorResponse", "ValidationError")
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	want, known := k.roles[r.Form.Get("RoleArn")]
	if !known || r.Form.Get("ExternalId") != want {
		AnswerXML(w, http.StatusForbidden, "ErrorResponse", "AccessDenied")
		return
	}
	keyID := k.temporary()
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult><Credentials><AccessKeyId>%s</AccessKeyId>`+
		`<SecretAccessKey>%s</SecretAccessKey><SessionToken>%s</SessionToken><Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>`,
		keyID, k.secrets[keyID], k.tokens[keyID], time.Now().Add(time.Hour).UTC().Format(time.RFC3339))
}

func (k *Keys) temporary() (keyID string) {
	keyID = fmt.Sprintf("ASIATEMPORARY%03d", len(k.tokens))
	k.secrets[keyID], k.tokens[keyID] = "secret of "+keyID, "token of "+keyID
	return keyID
}

// Temporary makes a temporary access key, as STS does.
func (k *Keys) Temporary() (keyID, secret, token string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	keyID = k.temporary()
	return keyID, k.secrets[keyID], k.tokens[keyID]
}

// Assumed is how many temporary keys there are.
func (k *Keys) Assumed() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.tokens)
}

// AnswerXML answers as STS does, whose errors stand in an ErrorResponse, and S3, whose errors stand by themselves: root is Error.
func AnswerXML(w http.ResponseWriter, status int, root, code string) {
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
