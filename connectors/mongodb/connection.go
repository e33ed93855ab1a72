package mongodb

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Connection is how to reach a database: the parts, or a URL that holds them.
type Connection struct {
	URL        string `json:"url,omitempty" jsonschema:"description=mongodb://user:password@host:port/database?... or mongodb+srv://...; instead of the parts but ca and database,format=password"`
	Host       string `json:"host,omitempty" jsonschema:"description=Name or address of the server with its port if that is not 27017; the members of a replica set separated by commas; with srv the name that stands for all"`
	SRV        bool   `json:"srv,omitempty" jsonschema:"description=Look the servers up in the DNS as mongodb+srv does"`
	ReplicaSet string `json:"replica_set,omitempty" jsonschema:"description=Name of the replica set"`
	Database   string `json:"database,omitempty" jsonschema:"description=Database of the collections"`
	User       string `json:"user,omitempty" jsonschema:"description=User to connect as"`
	Password   string `json:"password,omitempty" jsonschema:"description=Password of the user,format=password"`
	AuthSource string `json:"auth_source,omitempty" jsonschema:"description=Database that knows the user,default=admin"`
	TLS        string `json:"tls,omitempty" jsonschema:"description=Whether TLS is spoken; the server's certificate is always checked,enum=on,enum=off,default=on"`
	CA         string `json:"ca,omitempty" jsonschema:"description=PEM text of the authority that signed the server's certificate; without it the system's authorities are trusted"`
}

// parameters of a URL that may stand there, in lower case. Those that read files, lead the worker to show credentials of its own, or turn
// checks off do not; what is ours to choose is passed over.
var parameters = []string{
	"appname", "authmechanism", "authsource", "compressors", "connecttimeoutms", "directconnection", "heartbeatfrequencyms", "journal", "loadbalanced",
	"localthresholdms", "maxidletimems", "maxpoolsize", "minpoolsize", "readconcernlevel", "readpreference", "replicaset", "retryreads", "retrywrites",
	"serverselectiontimeoutms", "sockettimeoutms", "srvmaxhosts", "srvservicename", "ssl", "tls", "uuidrepresentation", "w", "waitqueuetimeoutms", "wtimeoutms",
}

// mechanisms that use nothing but the user and password that are given.
var mechanisms = []string{"", "SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"}

const (
	maxPool = 8
	// selectTimeout is how long a server is looked for. An election in a replica set may take longer: then it comes again.
	selectTimeout = 5 * time.Second
)

// target is a connection that was found to be right.
type target struct {
	where, database string
	options         func() (*options.ClientOptions, error)
}

func invalid(format string, args ...any) error {
	return connectors.Errorf(connectors.Invalid, "connection", format, args...)
}

// target checks the connection without a round trip. No message repeats the URL: it holds a password.
func (c Connection) target(allowed []*net.IPNet) (target, error) {
	var roots *x509.CertPool
	if c.CA != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(c.CA)) {
			return target{}, invalid("ca: want the certificate itself as PEM text, not the name of a file")
		}
	}
	t, base, err := c.parts()
	if c.URL != "" {
		t, base, err = c.url()
	}
	if err != nil {
		return t, err
	}
	switch {
	case t.database == "":
		return t, invalid("database is missing")
	case len(t.database) > 63 || strings.ContainsAny(t.database, "/\\. \"$*<>:|?\x00"):
		return t, invalid("database: want a name of at most 63 bytes without any of /\\. \"$*<>:|?")
	}
	t.options = func() (*options.ClientOptions, error) {
		o := base()
		if err := o.Validate(); err != nil {
			return nil, err
		}
		return o, ours(o, roots, allowed)
	}
	if !c.srv() { // with it this looks up names
		if _, err := t.options(); err != nil {
			return t, connectors.AsError("connection", err)
		}
	}
	return t, nil
}

func (c Connection) srv() bool { return c.SRV || strings.HasPrefix(c.URL, "mongodb+srv://") }

// ours sets what is not the user's to choose.
func ours(o *options.ClientOptions, roots *x509.CertPool, allowed []*net.IPNet) error {
	if o.Auth != nil && !slices.Contains(mechanisms, o.Auth.AuthMechanism) {
		return invalid("url: authMechanism must be SCRAM-SHA-256, SCRAM-SHA-1 or PLAIN")
	}
	journal := true
	o.SetAppName("tributary").SetMaxPoolSize(maxPool).SetMinPoolSize(0).SetMaxConnIdleTime(time.Minute).SetServerSelectionTimeout(selectTimeout).SetConnectTimeout(10 * time.Second).
		SetReadPreference(readpref.Primary()).SetReadConcern(readconcern.Majority()).
		SetWriteConcern(&writeconcern.WriteConcern{W: writeconcern.WCMajority, Journal: &journal}).
		// The engine repeats what failed, and says so. The driver would until the time of the statement is over, whatever the URL says: a context with a deadline has it
		// try without end. https://github.com/mongodb/specifications/blob/master/source/client-side-operations-timeout/client-side-operations-timeout.md#retryability
		SetRetryReads(false).SetRetryWrites(false).
		// What the servers name as their members is dialled by it as well (I14), and a certificate may not name a responder to be asked over HTTP.
		SetDialer(outbound.Dialer(allowed)).
		SetDisableOCSPEndpointCheck(true)
	if roots != nil && o.TLSConfig == nil {
		return invalid("ca needs TLS: set tls to on, or tls=true in the URL")
	}
	if o.TLSConfig != nil {
		o.TLSConfig.MinVersion, o.TLSConfig.RootCAs = tls.VersionTLS12, roots
	}
	return nil
}

// parts reads a connection without a URL.
func (c Connection) parts() (target, func() *options.ClientOptions, error) {
	t := target{where: c.Host, database: c.Database}
	var problems []string
	hosts := strings.Split(c.Host, ",")
	switch {
	case slices.Contains(hosts, "") || strings.ContainsAny(c.Host, "/@?# %\x00"):
		problems = append(problems, "host: want names or addresses of servers, such as db.example.com:27017")
	case c.SRV && strings.ContainsAny(c.Host, ":,"):
		problems = append(problems, "host: with srv want one name without a port")
	}
	if c.User == "" && c.Password+c.AuthSource != "" {
		problems = append(problems, "user is missing")
	}
	if c.TLS != "" && c.TLS != "on" && c.TLS != "off" {
		problems = append(problems, "tls: want on or off")
	}
	if problems != nil {
		return t, nil, invalid("%s", strings.Join(problems, "; "))
	}
	return t, func() *options.ClientOptions {
		o := options.Client()
		if c.SRV {
			o.ApplyURI("mongodb+srv://" + c.Host)
		} else {
			o.SetHosts(hosts)
		}
		if c.ReplicaSet != "" {
			o.SetReplicaSet(c.ReplicaSet)
		}
		if c.User != "" {
			source := c.AuthSource
			if source == "" {
				source = "admin"
			}
			o.SetAuth(options.Credential{AuthSource: source, Username: c.User, Password: c.Password, PasswordSet: true})
		}
		if c.TLS == "off" {
			o.TLSConfig = nil
		} else if o.TLSConfig == nil {
			o.SetTLSConfig(&tls.Config{})
		}
		return o
	}, nil
}

// url reads a connection that is given as a URL.
func (c Connection) url() (target, func() *options.ClientOptions, error) {
	const form = "url: want mongodb://user:password@host:port/database, with special characters in the password percent-encoded"
	t := target{database: c.Database}
	if c != (Connection{URL: c.URL, Database: c.Database, CA: c.CA}) {
		return t, nil, invalid("give url or the parts, not both; database and ca may stand beside url")
	}
	rest, plain := strings.CutPrefix(c.URL, "mongodb://")
	if !plain {
		var srv bool
		if rest, srv = strings.CutPrefix(c.URL, "mongodb+srv://"); !srv {
			return t, nil, invalid(form)
		}
	}
	rest, query, _ := strings.Cut(rest, "?")
	hosts, path, _ := strings.Cut(rest, "/")
	hosts = hosts[strings.LastIndex(hosts, "@")+1:]
	if hosts == "" || strings.Contains(path, "/") || strings.Contains(path, "@") {
		return t, nil, invalid(form)
	}
	t.where = hosts
	if t.database == "" {
		name, err := url.PathUnescape(path)
		if err != nil {
			return t, nil, invalid(form)
		}
		t.database = name
	}
	given, err := url.ParseQuery(query)
	if err != nil {
		return t, nil, invalid(form)
	}
	for key := range given {
		if !slices.Contains(parameters, strings.ToLower(key)) {
			return t, nil, invalid("url: it has a parameter that is not taken; taken are %s. A certificate authority is given as ca beside the URL", strings.Join(parameters, ", "))
		}
	}
	return t, func() *options.ClientOptions { return options.Client().ApplyURI(c.URL) }, nil
}
