package pubsub

import (
	"context"
	"errors"
	"fmt"
	"strings"

	rpccode "google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tributary/connectors"
	"tributary/connectors/delivery"
)

// kinds maps gRPC's codes to kinds (I9): https://cloud.google.com/pubsub/docs/reference/error-codes and
// https://grpc.io/docs/guides/status-codes/. What is not in it is unknown. The table stands in docs/destinations/pubsub.md too.
var kinds = map[codes.Code]struct {
	kind   connectors.Kind
	advice string
}{
	codes.Canceled:           {connectors.Unavailable, "cancelled"},
	codes.DeadlineExceeded:   {connectors.Unavailable, "no answer in time"},
	codes.Aborted:            {connectors.Unavailable, "Pub/Sub gave the request up"},
	codes.Internal:           {connectors.Unavailable, "Pub/Sub failed"},
	codes.Unavailable:        {connectors.Unavailable, "Pub/Sub can't be reached"},
	codes.ResourceExhausted:  {connectors.RateLimited, "a quota is used up; see https://console.cloud.google.com/iam-admin/quotas"},
	codes.Unauthenticated:    {connectors.Unauthorized, "the credentials are not accepted; give a new key of the service account"},
	codes.InvalidArgument:    {connectors.Invalid, "Pub/Sub does not accept the message"},
	codes.FailedPrecondition: {connectors.Invalid, "see that billing is enabled, that Pub/Sub may use the topic's key (CMEK), and that its message storage policy allows the region of the endpoint"},
	codes.Unimplemented:      {connectors.Invalid, "the endpoint is not that of Pub/Sub"},
	codes.OutOfRange:         {connectors.Invalid, "Pub/Sub does not accept the request"},
	codes.NotFound:           {connectors.NotFound, "there is no such topic"},
	codes.PermissionDenied:   {connectors.Forbidden, "the credentials lack a right"},
}

// failed turns what a call about a topic returned into an *Error. Of what the server says only the code is told: its words may quote
// what it was sent (I7).
func (d *destination) failed(op, topic string, err error) *connectors.Error {
	if refusal := d.client.refusal.Load(); refusal != nil && status.Code(err) == codes.Unavailable {
		return &connectors.Error{Kind: refusal.Kind, Op: op, Message: refusal.Message, Err: err}
	}
	s := status.Convert(err)
	code := s.Code()
	switch {
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	known, ok := kinds[code]
	if !ok {
		known.kind, known.advice = connectors.Unknown, "Pub/Sub failed in a way that it has no name for"
	}
	e := connectors.Errorf(known.kind, op, "%s (%s)", known.advice, rpccode.Code(code))
	e.Err = err
	switch code {
	case codes.NotFound:
		e.Message += fmt.Sprintf("; let an administrator run: gcloud pubsub topics create %s --project=%s", topic, d.settings.Project)
	case codes.PermissionDenied:
		if advice := projectProblems[projectProblem(err)]; advice != "" {
			e.Message = fmt.Sprintf(advice, d.settings.Project) + fmt.Sprintf(" (%s)", rpccode.Code(code))
			return e
		}
		e.Message += "; " + d.grant(topic)
	}
	for _, detail := range s.Details() {
		if retry, ok := detail.(*errdetails.RetryInfo); ok {
			e.Wait = max(0, min(retry.RetryDelay.AsDuration(), connectors.MaxWait))
		}
	}
	return e
}

// projectProblems are reasons for which Google answers PERMISSION_DENIED although no right is missing, with what to do about them:
// https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto
var projectProblems = map[string]string{
	"SERVICE_DISABLED":   "Pub/Sub is not enabled; let an administrator run: gcloud services enable pubsub.googleapis.com --project=%s",
	"BILLING_DISABLED":   "billing is not enabled for project %s; enable it at https://console.cloud.google.com/billing",
	"CONSUMER_INVALID":   "there is no project %s, or the credentials may not know of it; see the project's ID in the settings or the connection",
	"CONSUMER_SUSPENDED": "project %s is suspended; its owner must ask Google",
}

// projectProblem is the reason of an error that is one of projectProblems, or "". https://cloud.google.com/apis/design/errors#error_info
func projectProblem(err error) string {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.Domain == "googleapis.com" && projectProblems[info.Reason] != "" {
			return info.Reason
		}
	}
	return ""
}

// grant says what lets the credentials publish to a topic.
func (d *destination) grant(topic string) string {
	account := d.account
	if account == "" {
		account = "ACCOUNT"
	}
	return fmt.Sprintf("let an administrator run: gcloud pubsub topics add-iam-policy-binding %s --project=%s --member=serviceAccount:%s --role=roles/pubsub.publisher",
		topic, d.settings.Project, account)
}

// judge reads the error of a Publish. An argument that is not valid can only be a message: all else was checked when the
// destination was opened.
func (d *destination) judge(topic string, err error) delivery.Verdict {
	v := delivery.Verdict{Err: d.failed("publish", topic, err)}
	if s := status.Convert(err); s.Code() == codes.InvalidArgument {
		v.Refused = true
		v.Err.Message = "Pub/Sub does not accept the message: it may go beyond a limit (INVALID_ARGUMENT)"
		if strings.Contains(strings.ToLower(s.Message()), "schema") {
			v.Err.Message = "the payload does not fit the topic's schema (INVALID_ARGUMENT)"
		}
	}
	return v
}
