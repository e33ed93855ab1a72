// Package netsuite polls an Oracle NetSuite account with SuiteQL over REST: any record type, or a query of the user's own.
//
// Every page is a query of its own that begins behind the last row read, in the order of (time of change, id), and is cut to the page's size
// inside the query. So no query ever comes near the 100,000 rows at which the vendor ends one, and rows that change meanwhile shift nothing.
// Times are compared as NetSuite writes them, in the account's time zone: see zone.go for what that asks for when clocks are set back.
//
// API: https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157909186990.html
package netsuite

import (
	"cmp"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"time"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Settings are a block's settings.
type Settings struct {
	TimeZone string           `json:"time_zone,omitempty" jsonschema:"description=Time zone in which NetSuite writes times for the user of the credentials as a name of the IANA database (such as Europe/Berlin),default=America/Los_Angeles"`
	Queries  map[string]Query `json:"queries,omitempty" jsonschema:"description=Streams that are more than a record type read whole: by the stream's name"`
	// Deletions is a pointer because its default is true.
	Deletions *bool  `json:"deletions,omitempty" jsonschema:"description=Read what was deleted too; needs the permission Deleted Records,default=true"`
	PageSize  int    `json:"page_size,omitempty" jsonschema:"description=Most rows asked for at once,default=1000,minimum=1,maximum=1000"`
	Overlap   string `json:"overlap,omitempty" jsonschema:"description=How far a poll reaches back before the newest change seen so that what NetSuite shows late is not missed (such as 5m),default=5m"`
}

// Query says what a stream reads.
type Query struct {
	Query   string   `json:"query,omitempty" jsonschema:"description=A SuiteQL query of your own. It names its columns; id and time of change are among them. It has no ORDER BY and no limit: those are added"`
	Record  string   `json:"record,omitempty" jsonschema:"description=The record type to read where there is no query; default is the stream's name"`
	ID      string   `json:"id,omitempty" jsonschema:"description=The column with a whole number that identifies a row,default=id"`
	Changed string   `json:"changed,omitempty" jsonschema:"description=The column with the date and time of the last change; default is lastmodifieddate and for custom records lastmodified"`
	Deleted []string `json:"deleted,omitempty" jsonschema:"description=Types whose deletions belong to the stream as the table deletedrecord has them (such as salesorder)"`
}

// Connection is what is stored for an account: the account and either OAuth 2.0 client credentials or a token of token-based authentication.
type Connection struct {
	Account string `json:"account" jsonschema:"required,description=Account ID such as 1234567 or 1234567_SB1 for a sandbox"`
	// Client credentials.
	ClientID      string `json:"client_id,omitempty" jsonschema:"description=OAuth 2.0: client ID of the integration record"`
	CertificateID string `json:"certificate_id,omitempty" jsonschema:"description=OAuth 2.0: ID that NetSuite gave the uploaded certificate"`
	PrivateKey    string `json:"private_key,omitempty" jsonschema:"format=password,description=OAuth 2.0: the certificate's private key as PEM: RSA (PS256) or EC P-256 (ES256)"`
	// Renewed by Renewal.
	AccessToken string `json:"access_token,omitempty" jsonschema:"format=password,description=OAuth 2.0: set by Tributary"`
	ExpiresAt   string `json:"expires_at,omitempty" jsonschema:"format=date-time,description=OAuth 2.0: set by Tributary"`
	RenewAt     string `json:"renew_at,omitempty" jsonschema:"format=date-time,description=OAuth 2.0: set by Tributary"`
	// Token-based authentication.
	ConsumerKey    string `json:"consumer_key,omitempty" jsonschema:"description=Token-based authentication: consumer key of the integration record"`
	ConsumerSecret string `json:"consumer_secret,omitempty" jsonschema:"format=password,description=Token-based authentication: consumer secret"`
	TokenID        string `json:"token_id,omitempty" jsonschema:"description=Token-based authentication: token ID"`
	TokenSecret    string `json:"token_secret,omitempty" jsonschema:"format=password,description=Token-based authentication: token secret"`

	Concurrency int    `json:"concurrency,omitempty" jsonschema:"description=Most streams of this account read at once; all its installations share it,default=4,minimum=1,maximum=100"`
	URL         string `json:"url,omitempty" jsonschema:"format=uri,description=Base URL to call instead of https://<account>.suitetalk.api.netsuite.com: for a proxy"`
}

const (
	name            = "netsuite"
	defaultTimeZone = "America/Los_Angeles"
	defaultOverlap  = 5 * time.Minute
	maxOverlap      = 24 * time.Hour
	// maxPage is the vendor's: https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_156414087576.html
	maxPage = 1000
	// concurrency leaves one of the five requests at once that the smallest account allows to its owner's other integrations:
	// https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_1500275531.html
	concurrency = 4
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name:  name,
		Title: "Oracle NetSuite",
		Doc: "Records of a NetSuite account, polled with SuiteQL in the order of their changes: any record type by its name, or a query of your own. " +
			"Enable REST web services and SuiteAnalytics Workbook in the account, and give the role of the credentials REST Web Services, " +
			"SuiteAnalytics Workbook, Deleted Records and the right to view each record type.",
		Settings:   Settings{},
		Connection: Connection{},
		Renewal:    &connectors.Renewal{Due: due, Expires: expires, Renew: renew},
		Streams:    described(),
		AnyStream:  true,
		Records:    recordFacts, Limits: limitFacts,
		OpenSource: func(c connectors.Config) (any, error) { return open(c) },
		Polls:      true,
		AccountOf:  accountOf,
		Budget:     connectors.Budget{Concurrent: concurrency},
	}
}

// source is an opened account.
type source struct {
	*client
	zone      *time.Location
	queries   map[string]Query
	deletions bool
	pageSize  int
	overlap   time.Duration
	budget    connectors.Budget
	log       *slog.Logger
	// streams are the ones that the block reads, nil where that is not known.
	streams []string
}

var (
	_ connectors.Source  = (*source)(nil)
	_ connectors.Pacer   = (*source)(nil)
	_ connectors.Checker = (*source)(nil)
)

func open(c connectors.Config) (*source, error) {
	settings, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	conn, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	s := &source{
		queries: settings.Queries, deletions: settings.Deletions == nil || *settings.Deletions, pageSize: cmp.Or(settings.PageSize, maxPage),
		overlap: defaultOverlap, budget: connectors.Budget{Concurrent: cmp.Or(conn.Concurrency, concurrency)}, log: c.Env.Logger(), streams: c.Streams,
	}
	// "" would be UTC and Local the zone of this machine.
	zone := cmp.Or(settings.TimeZone, defaultTimeZone)
	if s.zone, err = time.LoadLocation(zone); err != nil || zone == "Local" {
		return nil, invalid("settings field time_zone: want a name of the IANA time zone database, such as America/New_York or UTC")
	}
	if s.pageSize < 1 || s.pageSize > maxPage {
		return nil, invalid("settings field page_size: want 1 to %d", maxPage)
	}
	if settings.Overlap != "" {
		if s.overlap, err = time.ParseDuration(settings.Overlap); err != nil || s.overlap < 0 || s.overlap > maxOverlap {
			return nil, invalid("settings field overlap: want a duration from 0s to 24h, such as 5m")
		}
	}
	if conn.Concurrency < 0 || conn.Concurrency > 100 {
		return nil, invalid("connection field concurrency: want 1 to 100")
	}
	for name := range settings.Queries {
		if _, err := s.stream(name); err != nil {
			return nil, err
		}
	}
	s.client, err = newClient(conn, c.Env)
	return s, err
}

// Budget is what the account's owner allows Tributary of the requests that the account takes at once.
func (s *source) Budget(connectors.FetchRequest) connectors.Budget { return s.budget }

func invalid(format string, args ...any) error {
	return connectors.Errorf(connectors.Invalid, name, format, args...)
}

// account is an account ID as the vendor writes it: 1234567, 1234567_SB1, 1234567_RP, TSTDRV1234567, TD1234567.
var account = regexp.MustCompile(`^[A-Z0-9]{1,20}(_[A-Z0-9]{1,10})?$`)

// accountOf is the account ID; an unreadable connection has none.
func accountOf(connection json.RawMessage) string {
	c, err := connectors.Decode[Connection](connection)
	if err != nil {
		return ""
	}
	return normalAccount(c.Account)
}

// roots are where an account's REST services are: as the vendor knows them, which signatures name, and as they are called.
type roots struct{ vendor, called *url.URL }

func (r roots) path(elements ...string) roots {
	return roots{r.vendor.JoinPath(elements...), r.called.JoinPath(elements...)}
}

// reach tells where the account is and by which client. The host is made of the account ID alone, because it decides who gets the
// credentials; a URL that a user gave instead never leads into the operator's network (I14).
func reach(conn Connection, env connectors.Env) (roots, http.RoundTripper, error) {
	id := normalAccount(conn.Account)
	if !account.MatchString(id) {
		return roots{}, nil, invalid("connection field account: want the account ID, such as 1234567 or 1234567_SB1")
	}
	vendor := &url.URL{Scheme: "https", Host: hostOf(id), Path: "/"}
	if conn.URL == "" {
		transport := env.Transport
		if transport == nil {
			transport = outbound.Transport(outbound.Options{Allowed: env.Networks, MaxBody: maxBody + 1})
		}
		return roots{vendor, vendor}, transport, nil
	}
	if err := outbound.CheckURL(conn.URL, env.Networks); err != nil {
		return roots{}, nil, invalid("connection field url: %s", err)
	}
	called, err := url.Parse(conn.URL)
	if err != nil || called.RawQuery != "" {
		return roots{}, nil, invalid("connection field url: want a base URL without a query")
	}
	return roots{vendor, called}, outbound.Transport(outbound.Options{Allowed: env.Networks, MaxBody: maxBody + 1}), nil
}
