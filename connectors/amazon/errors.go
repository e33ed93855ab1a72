package amazon

import (
	"errors"
	"net/http"
	"regexp"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tributary/connectors"
)

// Meaning is what an error code means: the kind of the error (I9), and what to do about it in plain words.
type Meaning struct {
	Kind   connectors.Kind
	Advice string
}

// Common are the codes that any service may answer. A service's own table comes first.
// https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html, https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
var Common = map[string]Meaning{
	"InternalFailure":             {connectors.Unavailable, "AWS failed"},
	"InternalError":               {connectors.Unavailable, "AWS failed"},
	"ServiceUnavailable":          {connectors.Unavailable, "AWS is not available"},
	"ServiceUnavailableException": {connectors.Unavailable, "AWS is not available"},
	"RequestTimeout":              {connectors.Unavailable, "the request came too slowly"},
	"RequestTimeoutException":     {connectors.Unavailable, "the request came too slowly"},
	"RequestAbortedException":     {connectors.Unavailable, "the request was broken off"},
	"RequestExpired":              {connectors.Unavailable, "the worker's clock is wrong"},
	"RequestTimeTooSkewed":        {connectors.Unavailable, "the worker's clock is wrong"},
	"ConditionalRequestConflict":  {connectors.Unavailable, "two wrote one object at once"},

	"ThrottlingException":  {connectors.RateLimited, "a quota of the account is used up"},
	"Throttling":           {connectors.RateLimited, "a quota of the account is used up"},
	"RequestLimitExceeded": {connectors.RateLimited, "a quota of the account is used up"},
	"SlowDown":             {connectors.RateLimited, "S3 asks for fewer requests"},

	"ExpiredTokenException":               {connectors.Unauthorized, "the session token has expired"},
	"ExpiredToken":                        {connectors.Unauthorized, "the session token has expired"},
	"UnrecognizedClientException":         {connectors.Unauthorized, "the access key or the session token is not known"},
	"InvalidClientTokenId":                {connectors.Unauthorized, "the access key is not known"},
	"InvalidAccessKeyId":                  {connectors.Unauthorized, "the access key is not known"},
	"InvalidToken":                        {connectors.Unauthorized, "the session token is not accepted"},
	"InvalidSignatureException":           {connectors.Unauthorized, "the secret access key is wrong"},
	"SignatureDoesNotMatch":               {connectors.Unauthorized, "the secret access key is wrong"},
	"IncompleteSignature":                 {connectors.Unauthorized, "the signature is not accepted"},
	"MissingAuthenticationToken":          {connectors.Unauthorized, "the signature is missing"},
	"MissingAuthenticationTokenException": {connectors.Unauthorized, "the signature is missing"},

	"AccessDeniedException": {connectors.Forbidden, "the credentials lack a right"},
	"AccessDenied":          {connectors.Forbidden, "the credentials lack a right"},
	"NotAuthorized":         {connectors.Forbidden, "the credentials lack a right"},
	"OptInRequired":         {connectors.Forbidden, "the account has not enabled the region or the service"},

	"NoSuchBucket": {connectors.NotFound, "there is no such bucket"},
}

// MeaningOf is what Common says of a code or, where it says nothing, what the status says.
func MeaningOf(code string, status int) Meaning {
	if m, ok := Common[code]; ok {
		return m
	}
	switch {
	case status == http.StatusUnauthorized:
		return Meaning{connectors.Unauthorized, "the credentials are not accepted"}
	case status == http.StatusForbidden:
		return Common["AccessDenied"]
	case status == http.StatusTooManyRequests:
		return Common["Throttling"]
	case status == http.StatusRequestTimeout:
		return Common["RequestTimeout"]
	case status >= 500:
		return Common["ServiceUnavailable"]
	case status/100 == 3:
		return Meaning{connectors.Invalid, "the endpoint redirects; give the final one"}
	}
	return Meaning{connectors.Unknown, "AWS failed in a way that is not documented"}
}

// codeRule is what codes look like.
var codeRule = regexp.MustCompile(`^[A-Z][A-Za-z]{1,60}$`)

// IsCode says that an answer's code may be told: of an answer only its code is, the rest may quote what was sent (I7).
func IsCode(code string) bool { return codeRule.MatchString(code) }

// Answer is what the other side said, if it said something: a code, which may be empty, and an HTTP status, 0 where it is not known.
func Answer(err error) (code string, status int, answered bool) {
	var api smithy.APIError
	var response *smithyhttp.ResponseError
	if errors.As(err, &api) {
		code, answered = api.ErrorCode(), true
	}
	if errors.As(err, &response) { // with the status 0 where there was no answer
		status = response.HTTPStatusCode()
		answered = answered || status >= 300
	}
	return code, status, answered
}
