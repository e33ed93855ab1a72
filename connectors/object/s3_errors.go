package object

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/outbound"
)

// s3Kinds maps error codes to kinds (I9). https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
// The table stands in docs/destinations/s3.md too.
var s3Kinds = map[string]connectors.Kind{
	"AuthorizationHeaderMalformed": connectors.Invalid, // another region
	"BadDigest":                    connectors.Unavailable,
	"ConditionalRequestConflict":   connectors.Unavailable, // two at once: the next attempt sees who won
	"AccessDenied":                 connectors.Forbidden,
	"AccountProblem":               connectors.Forbidden,
	"AllAccessDisabled":            connectors.Forbidden,
	"EntityTooLarge":               connectors.TooLarge,
	"ExpiredToken":                 connectors.Unauthorized,
	"IncompleteBody":               connectors.Unavailable,
	"InternalError":                connectors.Unavailable,
	"InvalidAccessKeyId":           connectors.Unauthorized,
	"InvalidObjectState":           connectors.Invalid,
	"InvalidSecurity":              connectors.Unauthorized,
	"InvalidToken":                 connectors.Unauthorized,
	"NoSuchBucket":                 connectors.NotFound,
	"NoSuchKey":                    connectors.NotFound,
	"NoSuchUpload":                 connectors.Unavailable, // a lifecycle rule ended it
	"NotImplemented":               connectors.Invalid,
	"NotSignedUp":                  connectors.Forbidden,
	"OperationAborted":             connectors.Unavailable,
	"PermanentRedirect":            connectors.Invalid, // another region
	"RequestTimeout":               connectors.Unavailable,
	"RequestTimeTooSkewed":         connectors.Unavailable,
	"ServiceUnavailable":           connectors.Unavailable,
	"SignatureDoesNotMatch":        connectors.Unauthorized,
	"SlowDown":                     connectors.RateLimited,
	"TemporaryRedirect":            connectors.Unavailable,
	"TokenRefreshRequired":         connectors.Unauthorized,
}

// s3Advice says what to do about a code.
var s3Advice = map[string]string{
	"AuthorizationHeaderMalformed": "the bucket is in another region: set region in the connection",
	"PermanentRedirect":            "the bucket is in another region: set region in the connection",
	"NotImplemented":               "the store does not know a condition or header of the request: use one that keeps If-None-Match",
	"RequestTimeTooSkewed":         "the worker's clock is wrong",
	"AllAccessDisabled":            "the bucket's owner or Amazon has disabled it",
	"AccountProblem":               "there is a problem with the bucket's account: its owner must ask AWS",
	"ExpiredToken":                 "the session token has expired",
}

// kindOfStatus is the kind of an answer of which no code is known.
func kindOfStatus(status int) connectors.Kind {
	switch {
	case status == http.StatusUnauthorized:
		return connectors.Unauthorized
	case status == http.StatusForbidden:
		return connectors.Forbidden
	case status == http.StatusNotFound:
		return connectors.NotFound
	case status == http.StatusRequestEntityTooLarge:
		return connectors.TooLarge
	case status == http.StatusTooManyRequests:
		return connectors.RateLimited
	case status == http.StatusRequestTimeout, status == http.StatusConflict, status >= 500:
		return connectors.Unavailable
	case status >= 300:
		return connectors.Invalid
	}
	return connectors.Unknown
}

func (a *s3Account) unmet(err error) bool {
	var api smithy.APIError
	return errors.As(err, &api) && api.ErrorCode() == "PreconditionFailed"
}

// failed repeats of an answer only its code: the rest may quote what was sent (I7).
func (a *s3Account) failed(act action, bucket string, err error) *connectors.Error {
	var known *connectors.Error
	if errors.As(err, &known) {
		return known
	}
	var response *awshttp.ResponseError
	code, status, answered := amazon.Answer(err)
	var none *amazon.NoCredentials
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return outbound.AsError(act.op, err)
	case errors.As(err, &none):
		e := &connectors.Error{Kind: none.Kind(), Op: act.op, Message: none.Message, Err: err}
		if code != "" {
			e.Message = fmt.Sprintf("%s (%s)", none.Message, connectors.Clip(code, 60))
		}
		return e
	case !answered:
		return outbound.AsError(act.op, err)
	}
	e := &connectors.Error{Op: act.op, Err: err}
	if errors.As(err, &response) && response.Response != nil {
		e.Wait = outbound.RetryAfter(response.Response.Header.Get("Retry-After"), time.Now())
	}
	kind, listed := s3Kinds[code]
	if common, known := amazon.Common[code]; !listed && known { // the status says less: quotas are told with 400
		kind = common.Kind
	} else if !listed {
		kind = kindOfStatus(status)
	}
	e.Kind = kind
	what := connectors.Clip(code, 60)
	if status != 0 {
		what += " " + strconv.Itoa(status)
	}
	switch advice := s3Advice[code]; {
	case advice != "":
		e.Message = fmt.Sprintf("%s (%s)", advice, what)
	case kind == connectors.Unauthorized:
		e.Message = fmt.Sprintf("the access key is not accepted (%s)", what)
	case kind == connectors.Forbidden:
		e.Message = fmt.Sprintf("the credentials lack a right (%s): allow %s on %s", what, act.s3, a.resource(act, bucket))
	case kind == connectors.NotFound:
		e.Message = fmt.Sprintf("there is no bucket %q in the region (%s)", bucket, what)
	case kind == connectors.RateLimited:
		e.Message = fmt.Sprintf("the bucket takes no more requests just now (%s)", what)
	case status == http.StatusMovedPermanently:
		e.Message = fmt.Sprintf("the bucket is in another region: set region in the connection (%s)", what)
	default:
		e.Message = fmt.Sprintf("the store answered %s", what)
	}
	return e
}

func (a *s3Account) resource(act action, bucket string) string {
	if act == listing {
		return "arn:aws:s3:::" + bucket
	}
	return "arn:aws:s3:::" + bucket + "/*"
}
