package snowflake

import (
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/snowflakedb/gosnowflake/v2"

	"tributary/connectors"
	"tributary/connectors/outbound"
	_ "tributary/connectors/snowflake/environment" // before the driver
)

// Connection is how to log in to an account: with one of a key, a token and a password.
type Connection struct {
	Account    string `json:"account" jsonschema:"required,description=Account identifier such as MYORG-MYACCOUNT or a locator with its region such as xy12345.eu-central-1"`
	User       string `json:"user,omitempty" jsonschema:"description=User to log in as; needed beside a key or a password"`
	PrivateKey string `json:"private_key,omitempty" jsonschema:"description=Private key of the user as PEM text (PKCS#8),format=password"`
	Passphrase string `json:"private_key_passphrase,omitempty" jsonschema:"description=Passphrase of the private key where it is encrypted,format=password"`
	OAuth
	// A programmatic access token stands in the place of a password: https://docs.snowflake.com/en/user-guide/programmatic-access-tokens
	Password  string `json:"password,omitempty" jsonschema:"description=Password of the user or a programmatic access token,format=password"`
	Role      string `json:"role,omitempty" jsonschema:"description=Role to work as; without it the user's default"`
	Warehouse string `json:"warehouse,omitempty" jsonschema:"description=Warehouse that runs the statements; without it the user's default"`
	Host      string `json:"host,omitempty" jsonschema:"description=Host of the account if it is not <account>.snowflakecomputing.com such as one for PrivateLink"`

	Storage
}

// domains are Snowflake's own: https://docs.snowflake.com/en/user-guide/organizations-connect
var domains = []string{".snowflakecomputing.com", ".snowflakecomputing.cn"}

var (
	// https://docs.snowflake.com/en/user-guide/admin-account-identifier: organization and account name, or a locator, its region and its cloud.
	accountRule = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,254}(\.[a-z0-9-]{1,60}){0,2}$`)
	hostRule    = regexp.MustCompile(`^(https?://)?([A-Za-z0-9._-]+)(:[0-9]{1,5})?$`)
)

const (
	connectTimeout = 30 * time.Second
	// answerTimeout bounds a request. Snowflake answers after 45 seconds that a statement still runs.
	answerTimeout = 5 * time.Minute
	// maxAnswer bounds an answer in bytes. The largest are the reasons of a batch's rejected records.
	maxAnswer = 128 << 20
)

// config makes the driver's configuration. Everything is set here: no file or variable of the worker's own account goes to a server that a user named.
func (c Connection) config(operator bool, env connectors.Env) (gosnowflake.Config, error) {
	var problems []string
	f := gosnowflake.Config{
		Account: c.Account, User: c.User, Role: c.Role, Warehouse: c.Warehouse, Application: "Tributary", Protocol: "https", Port: 443,
		DisableOCSPChecks:              true, // there is a Transporter, which does as Go does
		MaxRetryCount:                  -1,   // the engine comes again
		ClientStoreTemporaryCredential: gosnowflake.ConfigBoolFalse, ClientRequestMfaToken: gosnowflake.ConfigBoolFalse,
		DisableConsoleLogin: gosnowflake.ConfigBoolTrue, Params: session(),
	}
	//lint:ignore SA1019 there is nothing else to set them by
	f.LoginTimeout, f.ClientTimeout, f.JWTClientTimeout, f.CloudStorageTimeout = connectTimeout, answerTimeout, connectTimeout, answerTimeout
	if !accountRule.MatchString(c.Account) {
		problems = append(problems, "account: want an account identifier, such as MYORG-MYACCOUNT, without snowflakecomputing.com")
	}
	ways := 0
	if c.PrivateKey != "" {
		ways++
		key, problem := parseKey(c.PrivateKey, c.Passphrase)
		if problem != "" {
			problems = append(problems, "private_key: "+problem)
		}
		f.Authenticator, f.PrivateKey = gosnowflake.AuthTypeJwt, key
	} else if c.Passphrase != "" {
		problems = append(problems, "private_key_passphrase is for a private_key")
	}
	if c.OAuth.given() {
		ways++
		if problem := c.OAuth.problem(env); problem != "" {
			problems = append(problems, problem)
		}
		f.Authenticator, f.Token = gosnowflake.AuthTypeOAuth, c.OAuthToken
	}
	if c.Password != "" {
		ways++
		f.Authenticator, f.Password = gosnowflake.AuthTypeSnowflake, c.Password
	}
	if ways != 1 {
		problems = append(problems, "give one of private_key, OAuth and password")
	}
	if c.User == "" && !c.OAuth.given() {
		problems = append(problems, "user is missing")
	}
	transport, problem := c.transport(&f, operator, env)
	if problem != "" {
		problems = append(problems, problem)
	}
	if problems != nil {
		return f, connectors.Errorf(connectors.Invalid, "connection", "%s", strings.Join(problems, "; "))
	}
	f.Transporter = transport
	return f, nil
}

// transport sets the host and chooses how it is called. The driver trusts the server: it uploads what local file the server says, and writes where it says. So a host
// that is not Snowflake's own, which TLS proves, is for the operator's own connections only. One that is named is dialled as such, for PrivateLink too (I14).
func (c Connection) transport(f *gosnowflake.Config, operator bool, env connectors.Env) (transport http.RoundTripper, problem string) {
	if c.Host == "" {
		// Underscores are not allowed in hosts: https://docs.snowflake.com/en/user-guide/admin-account-identifier
		f.Host = strings.ToLower(strings.ReplaceAll(c.Account, "_", "-")) + domains[0]
		if strings.Contains(c.Account, ".cn-") {
			f.Host = strings.TrimSuffix(f.Host, domains[0]) + domains[1]
		}
		if env.Transport != nil {
			return lent{env.Transport}, ""
		}
		return &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true, MaxIdleConnsPerHost: 2 * maxConns, IdleConnTimeout: 90 * time.Second,
		}, ""
	}
	parts := hostRule.FindStringSubmatch(c.Host)
	if parts == nil {
		return nil, "host: want a host, such as myaccount.eu-central-1.privatelink.snowflakecomputing.com"
	}
	if !strings.HasPrefix(c.Host, "http") {
		parts[1] = "https://"
	}
	f.Protocol, f.Host = strings.TrimSuffix(parts[1], "://"), parts[2]
	if parts[3] != "" {
		f.Port, _ = strconv.Atoi(parts[3][1:]) // digits
	} else if f.Protocol == "http" {
		f.Port = 80
	}
	if !operator && (f.Protocol != "https" || !ofSnowflake(f.Host)) {
		return nil, "host: want one that ends in snowflakecomputing.com; others are for the operator's own connections"
	}
	u := url.URL{Scheme: f.Protocol, Host: address(*f)}
	if err := outbound.CheckURL(u.String(), env.Networks); err != nil {
		// A name of Snowflake's may lead inside the network, which shows when it is dialled.
		return nil, "host: " + connectors.AsError("", err).Message
	}
	return outbound.Transport(outbound.Options{Allowed: env.Networks, Concurrency: 2 * maxConns, MaxBody: maxAnswer}), ""
}

// address is the host with its port.
func address(f gosnowflake.Config) string { return net.JoinHostPort(f.Host, strconv.Itoa(f.Port)) }

// lent is a transport of the engine's, without the means to close its connections, which the driver would use.
type lent struct{ http.RoundTripper }

func ofSnowflake(host string) bool {
	for _, domain := range domains {
		if strings.HasSuffix(strings.ToLower(host), domain) {
			return true
		}
	}
	return false
}

// session are the parameters of each session: https://docs.snowflake.com/en/sql-reference/parameters. The limits end an attempt that nobody waits for any more.
func session() map[string]*string {
	params := make(map[string]*string)
	for name, value := range map[string]string{
		"client_session_keep_alive": "true", "client_telemetry_enabled": "false", "go_query_result_format": "json", "autocommit": "true", "timezone": "UTC",
		"query_tag": "tributary", "lock_timeout": "120", "statement_timeout_in_seconds": "1800", "abort_detached_query": "true",
		"transaction_abort_on_error": "true", "error_on_nondeterministic_merge": "true", "quoted_identifiers_ignore_case": "false", "binary_input_format": "HEX",
		"timestamp_input_format": "AUTO", "date_input_format": "AUTO", "time_input_format": "AUTO",
	} {
		params[name] = &value
	}
	return params
}
