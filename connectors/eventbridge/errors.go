package eventbridge

import (
	"errors"
	"fmt"
	"net/http"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/outbound"
)

// meaning is what an error code means.
type meaning struct {
	kind connectors.Kind
	// refuses says that it lies in an event: another one may pass.
	refuses bool
	advice  string
}

// meanings maps the error codes to kinds (I9) that are not those of any service, which package amazon knows. The table stands in docs/destinations/eventbridge.md too.
// Of an entry: https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsResultEntry.html.
// Of a request: https://docs.aws.amazon.com/eventbridge/latest/APIReference/CommonErrors.html, and of the operations PutEvents and DescribeEventBus.
// Of the bucket: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html.
var meanings = map[string]meaning{
	"InternalException": {kind: connectors.Unavailable, advice: "EventBridge failed"},

	"ThrottlingException": {kind: connectors.RateLimited, advice: "the account's quota of PutEvents is used up; it can be raised in Service Quotas"},

	"NotAuthorizedForSourceException":     {kind: connectors.Forbidden, advice: "the bus does not take events of this source from the credentials"},
	"NotAuthorizedForDetailTypeException": {kind: connectors.Forbidden, advice: "the bus does not take events of this detail type from the credentials"},

	"ResourceNotFoundException": {kind: connectors.NotFound, advice: "there is no such event bus in the region"},

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

// statuses say what an answer without a known code means, where that is not what it means of any service.
var statuses = map[int]meaning{
	http.StatusRequestEntityTooLarge: meanings["RequestEntityTooLargeException"], // it comes without a code: https://github.com/boto/boto3/issues/3411
	http.StatusNotFound:              meanings["UnknownOperationException"],
}

func meaningOf(code string, status int) meaning {
	if m, ok := meanings[code]; ok {
		return m
	}
	if _, common := amazon.Common[code]; !common {
		if m, ok := statuses[status]; ok {
			return m
		}
	}
	m := amazon.MeaningOf(code, status)
	return meaning{kind: m.Kind, advice: m.Advice}
}

func (m meaning) error(op, code string) *connectors.Error {
	if amazon.IsCode(code) {
		return connectors.Errorf(m.kind, op, "%s (%s)", m.advice, code)
	}
	return connectors.Errorf(m.kind, op, "%s", m.advice)
}

// failed turns what a call returned into an *Error.
func failed(op string, err error) *connectors.Error {
	var none *amazon.NoCredentials
	if errors.As(err, &none) && none.Kind() == connectors.Unauthorized {
		return &connectors.Error{Kind: connectors.Unauthorized, Op: op, Message: none.Message, Err: err}
	}
	code, status, answered := amazon.Answer(err)
	if !answered {
		return outbound.AsError(op, err)
	}
	e := meaningOf(code, status).error(op, code)
	if status != 0 && !amazon.IsCode(code) {
		e.Message = fmt.Sprintf("%s (HTTP %d)", e.Message, status)
	}
	e.Err = err
	return e
}

// refuses says whether a request failed for what it held.
func refuses(err error) bool {
	code, status, answered := amazon.Answer(err)
	return answered && meaningOf(code, status).refuses
}
