package redshift

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	provisioned "github.com/aws/aws-sdk-go-v2/service/redshift"
	"github.com/aws/aws-sdk-go-v2/service/redshiftserverless"
	"github.com/jackc/pgx/v5"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/outbound"
)

const (
	// passwordTime is how long a temporary password is asked for, the longest that there is; passwordMargin is how long before its end another is.
	passwordTime   = time.Hour
	passwordMargin = 5 * time.Minute
)

// login gets passwords of the database from IAM. One is good for an hour, and a session that was begun with it for as long as it likes:
// https://docs.aws.amazon.com/redshift/latest/mgmt/generating-user-credentials.html
type login struct {
	ask func(ctx context.Context) (user, password *string, ends *time.Time, err error)
	// rights are what to allow who asks.
	rights string
	now    func() time.Time

	mu   sync.Mutex // held while it asks: the others wait for the one answer
	user string
	word string
	ends time.Time
	from time.Time // when it was got
}

// clusterRegion is in the names of endpoints: https://docs.aws.amazon.com/redshift/latest/mgmt/connecting-from-psql.html
var clusterRegion = regexp.MustCompile(`\.([a-z]{2,6}(?:-[a-z]+)+-[0-9]{1,2})\.redshift(?:-serverless)?\.amazonaws\.com(?:\.cn)?$`)

// newLogin asks for a user of a cluster (https://docs.aws.amazon.com/redshift/latest/APIReference/API_GetClusterCredentials.html), or for who the credentials
// are themselves, at a cluster (https://docs.aws.amazon.com/redshift/latest/APIReference/API_GetClusterCredentialsWithIAM.html) or a
// workgroup (https://docs.aws.amazon.com/redshift-serverless/latest/APIReference/API_GetCredentials.html).
func newLogin(c Connection, config aws.Config, env connectors.Env) *login {
	config.Region = c.Region
	if m := clusterRegion.FindStringSubmatch(c.Host); m != nil {
		config.Region = m[1]
	}
	l := &login{now: env.Time}
	seconds := aws.Int32(int32(passwordTime / time.Second))
	policy := func(action, resources string) string {
		return fmt.Sprintf(`let an administrator allow: {"Effect":"Allow","Action":"%s","Resource":%s}`, action, resources)
	}
	switch {
	case c.Workgroup != "":
		client := redshiftserverless.NewFromConfig(config)
		l.rights = policy("redshift-serverless:GetCredentials", fmt.Sprintf(`"arn:aws:redshift-serverless:%s:*:workgroup/*"`, config.Region))
		l.ask = func(ctx context.Context) (user, password *string, ends *time.Time, err error) {
			out, err := client.GetCredentials(ctx, &redshiftserverless.GetCredentialsInput{WorkgroupName: &c.Workgroup, DbName: &c.Database, DurationSeconds: seconds})
			if err != nil {
				return nil, nil, nil, err
			}
			return out.DbUser, out.DbPassword, out.Expiration, nil
		}
	case c.User == "":
		client := provisioned.NewFromConfig(config)
		l.rights = policy("redshift:GetClusterCredentialsWithIAM", fmt.Sprintf(`"arn:aws:redshift:%s:*:dbname:%s/%s"`, config.Region, c.Cluster, c.Database))
		l.ask = func(ctx context.Context) (user, password *string, ends *time.Time, err error) {
			out, err := client.GetClusterCredentialsWithIAM(ctx, &provisioned.GetClusterCredentialsWithIAMInput{ClusterIdentifier: &c.Cluster, DbName: &c.Database, DurationSeconds: seconds})
			if err != nil {
				return nil, nil, nil, err
			}
			return out.DbUser, out.DbPassword, out.Expiration, nil
		}
	default:
		client := provisioned.NewFromConfig(config)
		l.rights = policy("redshift:GetClusterCredentials", fmt.Sprintf(`["arn:aws:redshift:%s:*:dbuser:%s/%s","arn:aws:redshift:%s:*:dbname:%s/%s"]`, config.Region, c.Cluster, c.User, config.Region, c.Cluster, c.Database))
		l.ask = func(ctx context.Context) (user, password *string, ends *time.Time, err error) {
			out, err := client.GetClusterCredentials(ctx, &provisioned.GetClusterCredentialsInput{
				ClusterIdentifier: &c.Cluster, DbUser: &c.User, DbName: &c.Database, DurationSeconds: seconds, AutoCreate: aws.Bool(false),
			})
			if err != nil {
				return nil, nil, nil, err
			}
			return out.DbUser, out.DbPassword, out.Expiration, nil
		}
	}
	return l
}

// enter gives a connection that is about to be made its user and password.
func (l *login) enter(ctx context.Context, config *pgx.ConnConfig) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := l.now(); !now.Before(l.ends.Add(-passwordMargin)) {
		user, password, ends, err := l.ask(ctx)
		if err != nil {
			return l.failed(err)
		}
		if aws.ToString(user) == "" || aws.ToString(password) == "" {
			return connectors.Errorf(connectors.Unavailable, "get a password", "AWS answered without a password")
		}
		l.user, l.word, l.from, l.ends = *user, *password, now, now.Add(passwordTime/4) // the least that there is
		if ends != nil {
			l.ends = *ends
		}
	}
	config.User, config.Password = l.user, l.word
	return nil
}

// forget makes the next connection ask anew, after a password was refused, and says whether that was one that had served for a while.
func (l *login) forget() (served bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ends = time.Time{}
	return l.now().Sub(l.from) > time.Minute
}

// name is the user as the database knows it, once there was a connection.
func (l *login) name() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.user
}

// meanings are those of codes that are the services' own: see newLogin.
var meanings = map[string]amazon.Meaning{
	"ClusterNotFound":           {Kind: connectors.NotFound, Advice: "there is no such cluster in the region of the endpoint"},
	"ResourceNotFoundException": {Kind: connectors.NotFound, Advice: "there is no such workgroup in the region of the endpoint"},
	"UnsupportedOperation":      {Kind: connectors.Invalid, Advice: "the cluster does not support it"},
	"ValidationException":       {Kind: connectors.Invalid, Advice: "it does not accept the names of the workgroup and the database"},
	"InvalidParameterValue":     {Kind: connectors.Invalid, Advice: "it does not accept the names of the cluster, the user and the database"},
	"InternalServerException":   {Kind: connectors.Unavailable, Advice: "AWS failed"},
	"UnauthorizedOperation":     amazon.Common["AccessDenied"],
}

// failed explains what AWS answered, by its code alone (I7).
func (l *login) failed(err error) *connectors.Error {
	const op = "get a password"
	var none *amazon.NoCredentials
	if errors.As(err, &none) {
		return &connectors.Error{Kind: none.Kind(), Op: op, Message: none.Message, Err: err}
	}
	code, status, answered := amazon.Answer(err)
	if !answered || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return outbound.AsError(op, err)
	}
	m, known := meanings[code]
	if !known {
		m = amazon.MeaningOf(code, status)
	}
	if m.Kind == connectors.Unknown && status == http.StatusBadRequest {
		m = amazon.Meaning{Kind: connectors.Invalid, Advice: "AWS refuses the request"}
	}
	if m.Kind == connectors.Forbidden {
		m.Advice = "the credentials may not log in to the database; " + l.rights
	}
	if !amazon.IsCode(code) {
		code = fmt.Sprintf("HTTP %d", status)
	}
	return &connectors.Error{Kind: m.Kind, Op: op, Message: fmt.Sprintf("%s (%s)", m.Advice, code), Err: err}
}

// user is who the sessions are in the database.
func (p *pool) user() string {
	user := p.Config().ConnConfig.User
	if p.login != nil {
		user = cmp.Or(user, p.login.name())
	}
	return cmp.Or(user, "<user>")
}
