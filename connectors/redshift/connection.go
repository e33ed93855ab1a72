package redshift

import (
	"cmp"
	"net"
	"regexp"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/outbound"
	"tributary/connectors/pgwire"
)

// Connection is how to reach a database, and the bucket through which rows get there.
type Connection struct {
	Host        string `json:"host" jsonschema:"required,description=Endpoint of the cluster or workgroup without port and database"`
	Port        int    `json:"port,omitempty" jsonschema:"description=Port,default=5439,minimum=1,maximum=65535"`
	Database    string `json:"database" jsonschema:"required,description=Database"`
	User        string `json:"user,omitempty" jsonschema:"description=User of the database; with cluster and without user it is who the credentials of AWS are; with workgroup it always is"`
	Password    string `json:"password,omitempty" jsonschema:"description=Password of the user; instead of it IAM gives temporary ones for a cluster or a workgroup,format=password"`
	Cluster     string `json:"cluster,omitempty" jsonschema:"description=Identifier of a provisioned cluster that IAM lets in without a password"`
	Workgroup   string `json:"workgroup,omitempty" jsonschema:"description=Name of a serverless workgroup that IAM lets in without a password"`
	SSLMode     string `json:"sslmode,omitempty" jsonschema:"description=How far TLS is wanted and the server's certificate checked,enum=disable,enum=prefer,enum=require,enum=verify-ca,enum=verify-full,default=verify-full"`
	SSLRootCert string `json:"sslrootcert,omitempty" jsonschema:"description=PEM text of the authority that signed the server's certificate; without it the system's authorities are trusted"`

	Bucket  string `json:"bucket" jsonschema:"required,description=S3 bucket through which rows are loaded"`
	Prefix  string `json:"prefix,omitempty" jsonschema:"description=Folder of the bucket,default=tributary"`
	Region  string `json:"region" jsonschema:"required,description=Region of the bucket such as eu-central-1"`
	IAMRole string `json:"iam_role" jsonschema:"required,description=ARN of the role by which Redshift reads the bucket; several that it assumes one by the other are separated by commas; default for the default role of the cluster or workgroup"`

	// Credentials write to the bucket, and log in where there is no password.
	amazon.Credentials
	Endpoint string `json:"endpoint,omitempty" jsonschema:"format=uri,description=https URL of what speaks the protocols of S3 and STS and Redshift's API instead of AWS such as an emulator. http only in a network that the operator allows"`
}

var (
	// nameRule is of clusters and workgroups: https://docs.aws.amazon.com/redshift/latest/APIReference/API_CreateCluster.html
	nameRule   = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	bucketRule = regexp.MustCompile(`^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$`)
	prefixRule = regexp.MustCompile(`^[A-Za-z0-9!_.=-]+(/[A-Za-z0-9!_.=-]+)*$`)
	// roleRule is of IAM_ROLE, with chains: https://docs.aws.amazon.com/redshift/latest/dg/copy-parameters-authorization.html
	roleRule = regexp.MustCompile(`^(default|arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=.@/-]+(,arn:aws[a-z-]*:iam::[0-9]{12}:role/[\w+=.@/-]+)*)$`)
)

const (
	connectTimeout = 30 * time.Second // a serverless workgroup that sleeps takes its time
	defaultPrefix  = "tributary"
)

// config checks the connection and makes the pool's configuration.
func (c Connection) config(operator bool, allowed []*net.IPNet) (*pgxpool.Config, error) {
	port, mode := cmp.Or(c.Port, 5439), cmp.Or(c.SSLMode, "verify-full")
	var problems []string
	want := func(ok bool, problem string) {
		if !ok {
			problems = append(problems, problem)
		}
	}
	want(c.Host != "" && !strings.ContainsAny(c.Host, ":,/@\x00"), "host: want the endpoint alone, such as warehouse.abc123.eu-central-1.redshift.amazonaws.com, without port and database")
	want(port >= 1 && port <= 65535, "port: want 1 to 65535")
	want(c.Database != "" && !strings.Contains(c.Database, "\x00"), "database is missing")
	ways := 0
	for _, way := range []string{c.Password, c.Cluster, c.Workgroup} {
		if way != "" {
			ways++
		}
	}
	want(ways == 1, "give one of password, cluster and workgroup")
	want((c.User != "" || c.Password == "") && !strings.Contains(c.User, "\x00"), "user is missing")
	want(c.Workgroup == "" || c.User == "", "user: a workgroup lets in who the credentials of AWS are; leave it out")
	want(c.Cluster == "" || nameRule.MatchString(c.Cluster), "cluster: want the identifier of a cluster, such as warehouse")
	want(c.Workgroup == "" || nameRule.MatchString(c.Workgroup), "workgroup: want the name of a workgroup, such as sales")
	roots, unfit := pgwire.TLS(mode, c.SSLRootCert)
	problems = append(problems, unfit...)
	want(bucketRule.MatchString(c.Bucket), "bucket: want the name of an S3 bucket")
	want(c.Prefix == "" || prefixRule.MatchString(c.Prefix) && len(c.Prefix) <= 500, "prefix: want a folder such as loads/tributary, of letters, digits and !_.=-")
	want(amazon.IsRegion(c.Region), "region: want that of the bucket, such as eu-central-1")
	want(roleRule.MatchString(c.IAMRole), "iam_role: want the ARN of a role such as arn:aws:iam::123456789012:role/redshift-load, or default")
	if problems != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "%s", strings.Join(problems, "; "))
	}
	if err := c.Credentials.Check(operator); err != nil {
		return nil, err
	}
	if err := outbound.CheckEndpoint(c.Endpoint, allowed); err != nil {
		return nil, err
	}

	server := outbound.Server{Host: c.Host, Port: port, Database: c.Database, User: c.User, Password: c.Password}
	return pgwire.Config(server, mode, roots, connectTimeout, allowed)
}
