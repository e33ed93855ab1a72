package eventbridge

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// meaning is what an error code means.
type meaning struct {
	kind connectors.Kind
	// refuses says that it lies in an event: another one may pass.
	refuses bool
	advice  string
}

// meanings maps error codes to kinds (I9). The table stands in docs/destinations/eventbridge.md too.
// Of an entry: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html.
// Of a request: https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html, and of the operations PutEvents and DescribeEventBus.
// Of the bucket: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
var meanings = map[string]meaning{
	"InternalFailure":             {kind: connectors.Unavailable, advice: "EventBridge failed"},
	"InternalException":           {kind: connectors.Unavailable, advice: "EventBridge failed"},
	"InternalError":               {kind: connectors.Unavailable, advice: "S3 failed"},
	"ServiceUnavailable":          {kind: connectors.Unavailable, advice: "AWS is not available"},
	"ServiceUnavailableException": {kind: connectors.Unavailable, advice: "AWS is not available"},
	"RequestTimeout":              {kind: connectors.Unavailable, advice: "the request came too slowly"},
	"RequestTimeoutException":     {kind: connectors.Unavailable, advice: "the request came too slowly"},
	"RequestAbortedException":     {kind: connectors.Unavailable, advice: "the request was broken off"},
	"RequestExpired":              {kind: connectors.Unavailable, advice: "the worker's clock is wrong"},
	"RequestTimeTooSkewed":        {kind: connectors.Unavailable, advice: "the worker's clock is wrong"},
	"ConditionalRequestConflict":  {kind: connectors.Unavailable, advice: "two wrote one object at once"},

	"ThrottlingException":  {kind: connectors.RateLimited, advice: "the account's quota of PutEvents is used up; it can be raised in Service Quotas"},
	"Throttling":           {kind: connectors.RateLimited, advice: "a quota of the account is used up"},
	"RequestLimitExceeded": {kind: connectors.RateLimited, advice: "a quota of the account is used up"},
	"SlowDown":             {kind: connectors.RateLimited, advice: "S3 asks for fewer requests"},

	"ExpiredTokenException":               {kind: connectors.Unauthorized, advice: "the session token has expired"},
	"ExpiredToken":                        {kind: connectors.Unauthorized, advice: "the session token has expired"},
	"UnrecognizedClientException":         {kind: connectors.Unauthorized, advice: "the access key or the session token is not known"},
	"InvalidClientTokenId":                {kind: connectors.Unauthorized, advice: "the access key is not known"},
	"InvalidAccessKeyId":                  {kind: connectors.Unauthorized, advice: "the access key is not known"},
	"InvalidToken":                        {kind: connectors.Unauthorized, advice: "the session token is not accepted"},
	"InvalidSignatureException":           {kind: connectors.Unauthorized, advice: "the secret access key is wrong"},
	"SignatureDoesNotMatch":               {kind: connectors.Unauthorized, advice: "the secret access key is wrong"},
	"IncompleteSignature":                 {kind: connectors.Unauthorized, advice: "the signature is not accepted"},
	"MissingAuthenticationToken":          {kind: connectors.Unauthorized, advice: "the signature is missing"},
	"MissingAuthenticationTokenException": {kind: connectors.Unauthorized, advice: "the signature is missing"},

	"AccessDeniedException":               {kind: connectors.Forbidden, advice: "the credentials lack a right"},
	"AccessDenied":                        {kind: connectors.Forbidden, advice: "the credentials lack a right"},
	"NotAuthorized":                       {kind: connectors.Forbidden, advice: "the credentials lack a right"},
	"OptInRequired":                       {kind: connectors.Forbidden, advice: "the account has not enabled the region or the service"},
	"NotAuthorizedForSourceException":     {kind: connectors.Forbidden, advice: "the bus does not take events of this source from the credentials"},
	"NotAuthorizedForDetailTypeException": {kind: connectors.Forbidden, advice: "the bus does not take events of this detail type from the credentials"},

	"ResourceNotFoundException": {kind: connectors.NotFound, advice: "there is no such event bus in the region"},
	"NoSuchBucket":              {kind: connectors.NotFound, advice: "there is no such bucket"},

	"InvalidAccountIdException":     {kind: connectors.Invalid, advice: "the account in the ARN of the bus is not valid"},
	"OperationDisabledException":    {kind: connectors.Invalid, advice: "the operation is disabled in the region"},
	"UnknownOperationException":     {kind: connectors.Invalid, advice: "the endpoint is not that of EventBridge"},
	"MalformedHttpRequestException": {kind: connectors.Invalid, advice: "something between us and AWS changes requests"},
	"AuthorizationHeaderMalformed":  {kind: connectors.Invalid, advice: "the bucket is in another region than the bus"},
	"PermanentRedirect":             {kind: connectors.Invalid, advice: "the bucket is in another region than the bus"},

	"InvalidArgument":                {kind: connectors.Invalid, refuses: true, advice: "EventBridge does not accept the event"},
	"MalformedDetail":                {kind: connectors.Invalid, refuses: true, advice: "EventBridge does not accept the payload: it takes whole numbers of 64 bits and 1,000 levels"},
	"RedactionFailure":               {kind: connectors.Invalid, refuses: true, advice: "EventBridge could not redact the event"},
	"ValidationException":            {kind: connectors.Invalid, refuses: true, advice: "EventBridge does not accept the event: it may be larger than the account's limit, which max_bytes in the settings should tell"},
	"ValidationError":                {kind: connectors.Invalid, refuses: true, advice: "EventBridge does not accept the event: it may be larger than the account's limit, which max_bytes in the settings should tell"},
	"SerializationException":         {kind: connectors.Invalid, refuses: true, advice: "EventBridge can't read the event"},
	"RequestEntityTooLargeException": {kind: connectors.Invalid, refuses: true, advice: "the event is larger than EventBridge takes"},
}

// statuses say what an answer without a known code means.
var statuses = map[int]meaning{
	http.StatusUnauthorized:          {kind: connectors.Unauthorized, advice: "the credentials are not accepted"},
	http.StatusForbidden:             {kind: connectors.Forbidden, advice: "the credentials lack a right"},
	http.StatusRequestEntityTooLarge: meanings["RequestEntityTooLargeException"], // it comes without a code: https://github.com/boto/boto3/issues/3411
	http.StatusTooManyRequests:       meanings["Throttling"],
	http.StatusRequestTimeout:        meanings["RequestTimeout"],
	http.StatusNotFound:              meanings["UnknownOperationException"],
}

func meaningOf(code string, status int) meaning {
	if m, ok := meanings[code]; ok {
		return m
	}
	if m, ok := statuses[status]; ok {
		return m
	}
	switch status / 100 {
	case 5:
		return meanings["ServiceUnavailable"]
	case 3:
		return meaning{kind: connectors.Invalid, advice: "the endpoint redirects; give the final one"}
	}
	return meaning{kind: connectors.Unknown, advice: "AWS failed in a way that is not documented"}
}

// codeRule is what codes look like: of an answer only its code is told, the rest may quote what was sent (I7).
var codeRule = regexp.MustCompile(`^[A-Z][A-Za-z]{1,60}$`)

func (m meaning) error(op, code string) *connectors.Error {
	if codeRule.MatchString(code) {
		return connectors.Errorf(m.kind, op, "%s (%s)", m.advice, code)
	}
	return connectors.Errorf(m.kind, op, "%s", m.advice)
}

// failed turns what a call returned into an *Error.
func failed(op string, err error) *connectors.Error {
	var none *noCredentials
	if errors.As(err, &none) && !none.passing() {
		return &connectors.Error{Kind: connectors.Unauthorized, Op: op, Message: none.message, Err: err}
	}
	code, status, answered := answer(err)
	if !answered {
		return outbound.AsError(op, err)
	}
	e := meaningOf(code, status).error(op, code)
	if status != 0 && !codeRule.MatchString(code) {
		e.Message = fmt.Sprintf("%s (HTTP %d)", e.Message, status)
	}
	e.Err = err
	return e
}

// refuses says whether a request failed for what it held.
func refuses(err error) bool {
	code, status, answered := answer(err)
	return answered && meaningOf(code, status).refuses
}

// answer is what the other side said, if it said something.
func answer(err error) (code string, status int, answered bool) {
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
