package amazon

import (
	"context"
	"net/http"
	"regexp"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
	"github.com/aws/aws-sdk-go-v2/service/sts"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

var regionRule = regexp.MustCompile(`^[a-z]{2,6}(-[a-z]+)+-[0-9]{1,2}$`)

// IsRegion says whether a name is that of a region of AWS, such as eu-central-1: it becomes part of host names.
func IsRegion(name string) bool { return regionRule.MatchString(name) }

// Client calls AWS as the operator says, and a host that a user named never inside the operator's network (I14).
func Client(endpoint string, env connectors.Env, o outbound.Options) *http.Client {
	if endpoint == "" && env.Transport != nil {
		return &http.Client{
			Transport: env.Transport, Timeout: o.Timeout,
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	o.Allowed = env.Networks
	return outbound.Client(o)
}

// Config is what clients of AWS's services are made of. They never try again: the engine does. An endpoint, if there is one, stands for AWS in
// all services, also in STS.
func Config(c Credentials, region, endpoint string, client *http.Client) (aws.Config, error) {
	cfg := aws.Config{
		Region:      region,
		HTTPClient:  client,
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
		Credentials: credentials.NewStaticCredentialsProvider(c.AccessKeyID, c.SecretAccessKey, c.SessionToken),
	}
	if c.Ambient {
		// What gives the machine its credentials, such as a metadata service, is called by the library's own client. Nothing else is taken from
		// what the worker's configuration says.
		found, err := config.LoadDefaultConfig(context.Background(), config.WithRegion(region))
		if err != nil {
			return cfg, connectors.Errorf(connectors.Invalid, "connection", "the worker's own AWS configuration can't be read")
		}
		cfg.Credentials = explained{found.Credentials, "the worker finds no credentials of its own"}
	}
	if endpoint != "" {
		cfg.BaseEndpoint = aws.String(endpoint)
		// Not every store knows the checksums that the client adds unasked.
		cfg.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
		cfg.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
	}
	if c.RoleARN != "" {
		role := stscreds.NewAssumeRoleProvider(sts.NewFromConfig(cfg), c.RoleARN, func(o *stscreds.AssumeRoleOptions) {
			o.RoleSessionName = "tributary"
			if c.ExternalID != "" {
				o.ExternalID = aws.String(c.ExternalID)
			}
		})
		cfg.Credentials = aws.NewCredentialsCache(explained{role, "the role can't be assumed: its trust policy must allow the caller sts:AssumeRole, with the external ID of the connection"})
	}
	return cfg, nil
}
