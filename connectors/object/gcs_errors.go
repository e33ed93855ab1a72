package object

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"cloud.google.com/go/storage"
	"golang.org/x/oauth2"
	"google.golang.org/api/googleapi"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// gcsKinds maps reasons, which tell more than the status, to kinds (I9). https://cloud.google.com/storage/docs/json_api/v1/status-codes
// The table stands in docs/destinations/gcs.md too.
var gcsKinds = map[string]connectors.Kind{
	"accountDisabled":                 connectors.Forbidden,
	"authError":                       connectors.Unauthorized,
	"backendError":                    connectors.Unavailable,
	"conflict":                        connectors.Unavailable,
	"dailyLimitExceeded":              connectors.RateLimited,
	"forbidden":                       connectors.Forbidden,
	"gone":                            connectors.Unavailable, // the session of an upload: the next attempt begins another
	"internalError":                   connectors.Unavailable,
	"notFound":                        connectors.NotFound,
	"orgPolicyConstraintFailed":       connectors.Forbidden,
	"quotaExceeded":                   connectors.RateLimited,
	"rateLimitExceeded":               connectors.RateLimited,
	"required":                        connectors.Unauthorized, // a token is missing
	"uploadTooLarge":                  connectors.TooLarge,
	"usageLimits.accessNotConfigured": connectors.Forbidden,
	"userProjectMissing":              connectors.Invalid,
	"userRateLimitExceeded":           connectors.RateLimited,
}

// gcsAdvice says what to do about a reason.
var gcsAdvice = map[string]string{
	"accountDisabled":                 "the project's billing account is disabled",
	"orgPolicyConstraintFailed":       "a policy of the bucket's organization forbids it: its administrator must allow it",
	"usageLimits.accessNotConfigured": "the Cloud Storage API is not enabled in the account's project: enable it in the Google Cloud Console",
	"userProjectMissing":              "the bucket makes the requester pay, which is not supported: turn that off",
}

func (a *gcsAccount) unmet(err error) bool {
	var answer *googleapi.Error
	return errors.As(err, &answer) && answer.Code == http.StatusPreconditionFailed && reasonOf(answer) != "orgPolicyConstraintFailed"
}

func reasonOf(answer *googleapi.Error) string {
	if len(answer.Errors) == 0 {
		return ""
	}
	return answer.Errors[0].Reason
}

// failed repeats of an answer only its reason: the rest may quote what was sent (I7).
func (a *gcsAccount) failed(act action, bucket string, err error) *connectors.Error {
	var known *connectors.Error
	if errors.As(err, &known) {
		return known
	}
	var (
		none    *credentialError
		refused *oauth2.RetrieveError
		answer  *googleapi.Error
	)
	noToken := errors.As(err, &refused)
	e := &connectors.Error{Op: act.op, Err: err}
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return outbound.AsError(act.op, err)
	case errors.As(err, &none):
		e.Kind, e.Message = connectors.Unavailable, none.message
		if noToken && refused.Response != nil && refused.Response.StatusCode < 500 {
			e.Kind = connectors.Unauthorized
		}
		return e
	case noToken:
		status := 0
		if refused.Response != nil {
			status = refused.Response.StatusCode
		}
		e.Kind, e.Message = connectors.Unauthorized, fmt.Sprintf("the service account's key is not accepted (%d): it was deleted or disabled, or is another project's; make a new one", status)
		if k := kindOfStatus(status); k == connectors.Unavailable || k == connectors.RateLimited {
			e.Kind, e.Message = k, fmt.Sprintf("no access token could be had (%d)", status)
		}
		return e
	case !errors.As(err, &answer):
		if errors.Is(err, storage.ErrBucketNotExist) || errors.Is(err, storage.ErrObjectNotExist) {
			answer = &googleapi.Error{Code: http.StatusNotFound}
			break
		}
		return outbound.AsError(act.op, err)
	}
	e.Wait = outbound.RetryAfter(answer.Header.Get("Retry-After"), time.Now())
	reason := reasonOf(answer)
	kind, listed := gcsKinds[reason]
	if !listed {
		kind = kindOfStatus(answer.Code)
	}
	e.Kind = kind
	what := fmt.Sprintf("%d", answer.Code)
	if listed {
		what += " " + reason
	}
	switch advice := gcsAdvice[reason]; {
	case advice != "":
		e.Message = fmt.Sprintf("%s (%s)", advice, what)
	case kind == connectors.Unauthorized:
		e.Message = fmt.Sprintf("the access token is not accepted (%s)", what)
	case kind == connectors.Forbidden:
		e.Message = fmt.Sprintf("the credentials lack a right (%s): grant %s on bucket %s, for example with the role roles/storage.objectUser", what, act.gcs, bucket)
	case kind == connectors.NotFound:
		e.Message = fmt.Sprintf("there is no bucket %q (%s)", bucket, what)
	case kind == connectors.RateLimited:
		e.Message = fmt.Sprintf("the bucket takes no more requests just now (%s)", what)
	default:
		e.Message = fmt.Sprintf("Cloud Storage answered %s", what)
	}
	return e
}

// credentialError is that no credentials could be had to call Google with.
type credentialError struct {
	message string
	err     error
}

func (e *credentialError) Error() string { return e.message }
func (e *credentialError) Unwrap() error { return e.err }
