package amazon

import (
	"context"
	"errors"
	"net"

	"github.com/aws/aws-sdk-go-v2/aws"

	"tributary/connectors"
)

// Credentials say who calls AWS: an access key or the worker's own credentials, and a role that either may assume. A connection embeds them.
type Credentials struct {
	AccessKeyID     string `json:"access_key_id,omitempty" jsonschema:"description=ID of an access key"`
	SecretAccessKey string `json:"secret_access_key,omitempty" jsonschema:"description=Secret of the access key,format=password"`
	SessionToken    string `json:"session_token,omitempty" jsonschema:"description=Token of a temporary access key,format=password"`
	Ambient         bool   `json:"ambient,omitempty" jsonschema:"description=Use the credentials that the worker finds in its own environment instead of an access key. Only for the operator's connection"`
	RoleARN         string `json:"role_arn,omitempty" jsonschema:"description=Role to assume"`
	ExternalID      string `json:"external_id,omitempty" jsonschema:"description=External ID that the role's trust policy asks for"`
}

// Check says what is wrong without repeating any of it (I7). Only an operator's connection may stand for the worker: a user could go wherever the
// worker may.
func (c Credentials) Check(operator bool) error {
	message := ""
	switch {
	case (c.AccessKeyID == "") != (c.SecretAccessKey == ""):
		message = "access_key_id and secret_access_key belong together"
	case c.Ambient == (c.AccessKeyID != ""):
		message = "give access_key_id and secret_access_key, or ambient: true for the worker's own credentials"
	case c.Ambient && !operator:
		message = "ambient is only for the operator's connection, in a block with hidden: true; a user's needs an access key"
	case c.SessionToken != "" && c.Ambient:
		message = "session_token belongs to an access key"
	case c.ExternalID != "" && c.RoleARN == "":
		message = "external_id belongs to role_arn"
	default:
		return nil
	}
	return &connectors.Error{Kind: connectors.Invalid, Op: "connection", Message: message}
}

// explained tells failing to get credentials from failing to use them.
type explained struct {
	aws.CredentialsProvider
	message string
}

// Retrieve gets the credentials; its error is a *NoCredentials.
func (e explained) Retrieve(ctx context.Context) (aws.Credentials, error) {
	c, err := e.CredentialsProvider.Retrieve(ctx)
	if err != nil {
		return c, &NoCredentials{e.message, err}
	}
	return c, nil
}

// NoCredentials is that there are no credentials to sign a request with. Message says which ones were wanted.
type NoCredentials struct {
	Message string
	cause   error
}

func (e *NoCredentials) Error() string { return e.Message }
func (e *NoCredentials) Unwrap() error { return e.cause }

// Kind is Unavailable where the reason may pass by itself, because who gives the credentials could not be asked or was not able to answer;
// else Unauthorized.
func (e *NoCredentials) Kind() connectors.Kind {
	if code, status, answered := Answer(e.cause); answered {
		switch kind := MeaningOf(code, status).Kind; kind {
		case connectors.Unavailable, connectors.RateLimited, connectors.Unknown:
			return connectors.Unavailable
		}
		return connectors.Unauthorized
	}
	var network net.Error
	if errors.As(e.cause, &network) || errors.Is(e.cause, context.Canceled) {
		return connectors.Unavailable
	}
	return connectors.Unauthorized
}
