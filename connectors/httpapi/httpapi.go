// Package httpapi sends records to any JSON API: a request a record, or a request a group of them.
//
// Docs: docs/destinations/http.md.
package httpapi

import (
	"cmp"
	"context"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/jq"
	"tributary/connectors/lifetime"
	"tributary/connectors/outbound"
	"tributary/connectors/template"
)

// Settings of a block.
type Settings struct {
	URL string `json:"url,omitempty" jsonschema:"format=uri,description=The https URL of the API that paths are appended to; left out where the connection has it"`
	Request
	Delete      *Request          `json:"delete,omitempty" jsonschema:"description=How records of objects that are gone are sent where that differs; what is left out is as for the others"`
	Headers     map[string]string `json:"headers,omitempty" jsonschema:"description=Headers; {stream} {key} {id} {op} {version} {installation} {integration} and {user} stand for the record's. Not for secrets: these are the connection's"`
	IDHeader    string            `json:"id_header,omitempty" jsonschema:"description=The header that names what is sent and stays the same when it is sent again,default=Idempotency-Key"`
	Batch       *Batch            `json:"batch,omitempty" jsonschema:"description=Send several records with a request"`
	Success     *Rule             `json:"success,omitempty" jsonschema:"description=Which answers say that the record is stored; status 2xx by default"`
	Retry       *Rule             `json:"retry,omitempty" jsonschema:"description=Which answers say to come again later; 408 421 425 429 and 5xx by default"`
	Reject      *Rule             `json:"reject,omitempty" jsonschema:"description=Which answers refuse the record for ever; 400 409 413 422 and 431 by default"`
	Concurrency int               `json:"concurrency,omitempty" jsonschema:"description=How many requests may run at once; records of one key never do. 8 by default; with batch 1,minimum=1,maximum=256"`
	Timeout     string            `json:"timeout,omitempty" jsonschema:"description=How long a request may take with its answer: from 100ms to 60s,default=30s"`
	Check       string            `json:"check,omitempty" jsonschema:"description=A path that a GET may ask to prove the credentials; without it a check only connects"`
}

// Request is what is sent.
type Request struct {
	Method string `json:"method,omitempty" jsonschema:"description=Method; POST unless it is set,enum=POST,enum=PUT,enum=PATCH,enum=DELETE"`
	Path   string `json:"path,omitempty" jsonschema:"description=What follows the URL with its query; variables as in headers stand in it percent-encoded: /contacts/{key}"`
	Body   string `json:"body,omitempty" jsonschema:"description=A jq program that makes the body of a record; it knows $id $stream $key $op $occurred_at $received_at $version $installation $integration and $user. The payload as it is by default"`
}

// Batch bounds how many records go with a request; what is reached first counts.
type Batch struct {
	Records int    `json:"records,omitempty" jsonschema:"description=Records,default=100,minimum=2,maximum=1000"`
	Bytes   int    `json:"bytes,omitempty" jsonschema:"description=Bytes of the payloads; a larger single record is sent by itself,default=1048576,minimum=1,maximum=16777216"`
	Body    string `json:"body,omitempty" jsonschema:"description=A jq program that makes the body of the request out of the array of the records' bodies; the array by default"`
}

// Rule fits an answer by its status, by what its body says, or by both.
type Rule struct {
	Status []string `json:"status,omitempty" jsonschema:"description=Statuses such as 409 and classes such as 5xx"`
	Body   string   `json:"body,omitempty" jsonschema:"description=A jq condition on the answer's body; null where that is no JSON; it knows $status"`
}

// Connection proves who calls. Exactly one way, or none for an API that asks for nothing.
type Connection struct {
	URL      string   `json:"url,omitempty" jsonschema:"format=uri,description=The https URL of the API where each user has one of their own; the credentials are sent nowhere else"`
	Token    string   `json:"token,omitempty" jsonschema:"format=password,description=Sent as Authorization: Bearer"`
	User     string   `json:"user,omitempty" jsonschema:"description=User for Authorization: Basic"`
	Password string   `json:"password,omitempty" jsonschema:"format=password,description=Password of the user"`
	Headers  []Header `json:"headers,omitempty" jsonschema:"description=Headers that hold a secret such as X-Api-Key"`
}

// Header is a header that holds a secret.
type Header struct {
	Name  string `json:"name" jsonschema:"required,description=Name of the header"`
	Value string `json:"value" jsonschema:"required,format=password,description=What it says"`
}

const (
	defaultTimeout = 30 * time.Second
	minTimeout     = 100 * time.Millisecond
	maxTimeout     = 60 * time.Second
	maxConcurrency = 256
	maxRecords     = 1000
	maxBytes       = 16 << 20
	// maxGrowth is how many bytes longer than the payloads a body may be.
	maxGrowth = 1 << 20
	// maxAnswer is how many bytes of an answer are read.
	maxAnswer = 1 << 20
)

// Definition describes the connector.
func Definition() connectors.Definition {
	return connectors.Definition{
		Name:  "http",
		Title: "HTTP API",
		Doc: "Sends each record, or groups of them, to any JSON API: method, path, headers and body as the block says, in order per key. " +
			"What an answer means follows from its status and, where the block says so, from its body.",
		Settings:        Settings{},
		Connection:      Connection{},
		OpenDestination: open,
		Modes:           []connectors.Mode{connectors.Append},
	}
}

var (
	_ connectors.Destination = (*destination)(nil)
	_ connectors.Checker     = (*destination)(nil)
)

type destination struct {
	settings Settings
	base     *url.URL
	secret   http.Header
	header   http.Header // of every request: also the secret
	headers  map[string]template.Template
	upsert   request
	gone     request
	wrap     *jq.Program // of groups
	rules    rules
	net      outbound.Options
	client   *http.Client
	now      func() time.Time
	gate     lifetime.Gate
}

// request is a Request that was checked.
type request struct {
	method string
	path   template.Template
	url    *url.URL // where the path is the same for all records
	body   *jq.Program
	// one says that its path names a record's object, so that 404 and 410 speak of that.
	one bool
}

// recordVariables are what templates know; bodyVariables what bodies know beside the payload.
var (
	recordVariables = slices.Concat(template.OfBatch, template.OfRecord)
	bodyVariables   = append(slices.Clone(jq.Variables), "$version", "$installation", "$integration", "$user")
)

func open(c connectors.Config) (connectors.Destination, error) {
	s, err := connectors.Decode[Settings](c.Settings)
	if err != nil {
		return nil, err
	}
	if c.Mode != "" && c.Mode != connectors.Append {
		return nil, connectors.Errorf(connectors.Invalid, "mode", "%q is not possible: the API gets every change, use its own upsert with method and path", c.Mode)
	}
	connection, err := connectors.Decode[Connection](c.Connection)
	if err != nil {
		return nil, err
	}
	d := &destination{settings: s, now: c.Env.Time}
	for _, step := range []func() error{
		func() error { return d.prepareURL(connection, c.Env.Networks) },
		func() error { return d.prepareSecret(connection) },
		d.prepareLimits,
		d.prepareHeaders,
		d.prepareRequests,
		func() (err error) { d.rules, err = compileRules(s); return err },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	d.net.Allowed = c.Env.Networks
	d.client = outbound.Client(d.net)
	return d, nil
}

func invalid(op, format string, args ...any) error {
	return connectors.Errorf(connectors.Invalid, op, format, args...)
}

// prepareURL takes the one URL that credentials go to.
func (d *destination) prepareURL(c Connection, allowed []*net.IPNet) error {
	if (c.URL == "") == (d.settings.URL == "") {
		return invalid("url", "give it in the settings or in the connection, in one of them")
	}
	raw := cmp.Or(c.URL, d.settings.URL)
	if err := outbound.CheckURL(raw, allowed); err != nil {
		return err
	}
	d.base, _ = url.Parse(raw) // CheckURL has parsed it
	if d.base.RawQuery != "" {
		return invalid("url", "a query belongs to path")
	}
	return nil
}

// prepareSecret says what is wrong without repeating any of it (I7).
func (d *destination) prepareSecret(c Connection) error {
	d.secret = make(http.Header)
	ways := 0
	if c.Token != "" {
		ways++
		d.secret.Set("Authorization", "Bearer "+c.Token)
	}
	if c.User != "" || c.Password != "" {
		ways++
		r := http.Request{Header: d.secret}
		r.SetBasicAuth(c.User, c.Password)
	}
	for i, h := range c.Headers {
		checked := h.Name
		if canonical := http.CanonicalHeaderKey(h.Name); canonical == "Authorization" || canonical == "Cookie" {
			checked = "X-Secret"
		}
		if problem := outbound.HeaderProblem(checked, h.Value, "Content-"); problem != "" {
			return invalid("connection", "headers[%d] %s", i, problem)
		}
		d.secret.Set(h.Name, h.Value)
	}
	if len(c.Headers) > 0 {
		ways++
	}
	if ways > 1 {
		return invalid("connection", "give token, user and password, or headers: one of them")
	}
	if problem := outbound.HeaderProblem("X-Secret", d.secret.Get("Authorization")); problem != "" {
		return invalid("connection", "the token %s", problem)
	}
	return nil
}

func (d *destination) prepareLimits() error {
	s := &d.settings
	concurrency := 8
	if s.Batch != nil {
		concurrency = 1
		batch := *s.Batch
		batch.Records, batch.Bytes = cmp.Or(batch.Records, 100), cmp.Or(batch.Bytes, 1<<20)
		s.Batch = &batch
		if batch.Records < 2 || batch.Records > maxRecords || batch.Bytes < 1 || batch.Bytes > maxBytes {
			return invalid("batch", "records must be from 2 to %d and bytes from 1 to %d", maxRecords, maxBytes)
		}
	}
	s.Concurrency = cmp.Or(s.Concurrency, concurrency)
	if s.Concurrency < 1 || s.Concurrency > maxConcurrency {
		return invalid("concurrency", "must be from 1 to %d", maxConcurrency)
	}
	timeout, err := defaultTimeout, error(nil)
	if s.Timeout != "" {
		timeout, err = time.ParseDuration(s.Timeout)
	}
	if err != nil || timeout < minTimeout || timeout > maxTimeout {
		return invalid("timeout", "must be a duration from %v to %v, such as 30s", minTimeout, maxTimeout)
	}
	d.net = outbound.Options{Concurrency: s.Concurrency, Timeout: timeout, MaxBody: maxAnswer}
	return nil
}

func (d *destination) prepareHeaders() (err error) {
	d.settings.IDHeader = cmp.Or(d.settings.IDHeader, "Idempotency-Key")
	if problem := outbound.HeaderProblem(d.settings.IDHeader, "", "Content-"); problem != "" {
		return invalid("id_header", "%.100q %s", d.settings.IDHeader, problem)
	}
	if d.secret.Get(d.settings.IDHeader) != "" {
		return invalid("id_header", "%.100q is the connection's", d.settings.IDHeader)
	}
	d.header = http.Header{"User-Agent": {"Tributary/1.0"}, "Accept": {"application/json"}}
	maps.Copy(d.header, d.secret)
	d.headers = make(map[string]template.Template)
	for _, name := range slices.Sorted(maps.Keys(d.settings.Headers)) {
		canonical := http.CanonicalHeaderKey(name)
		if problem := outbound.HeaderProblem(name, d.settings.Headers[name], http.CanonicalHeaderKey(d.settings.IDHeader)); problem != "" {
			return invalid("headers", "%.100q %s", name, problem)
		}
		if d.secret.Values(canonical) != nil {
			return invalid("headers", "%.100q is the connection's", name)
		}
		if d.headers[canonical], err = template.Parse("headers", d.settings.Headers[name], recordVariables...); err != nil {
			return err
		}
	}
	return nil
}

func (d *destination) prepareRequests() (err error) {
	s := &d.settings
	if d.upsert, err = s.Request.compile(d.base); err != nil {
		return err
	}
	gone := s.Request
	if s.Delete != nil {
		gone = Request{cmp.Or(s.Delete.Method, s.Method), cmp.Or(s.Delete.Path, s.Path), cmp.Or(s.Delete.Body, s.Body)}
	}
	if d.gone, err = gone.compile(d.base); err != nil {
		e := *connectors.AsError("settings", err)
		e.Op = "delete." + e.Op
		return &e
	}
	if s.Batch != nil && s.Batch.Body != "" {
		if d.wrap, err = jq.Compile(s.Batch.Body); err != nil {
			return invalid("batch.body", "%s", err)
		}
	}
	if s.Check != "" {
		_, err = s.checkURL(d.base)
	}
	return err
}

func (s *Settings) checkURL(base *url.URL) (*url.URL, error) {
	path, err := template.Parse("check", s.Check)
	if err != nil {
		return nil, err
	}
	return resolve(base, path.Expand(nil))
}

func (r Request) compile(base *url.URL) (c request, err error) {
	c.method = cmp.Or(r.Method, http.MethodPost)
	if !slices.Contains([]string{"POST", "PUT", "PATCH", "DELETE"}, c.method) {
		return c, invalid("method", "%.20q: want POST, PUT, PATCH or DELETE", c.method)
	}
	if c.path, err = template.Parse("path", r.Path, recordVariables...); err != nil {
		return c, err
	}
	u, err := resolve(base, c.path.Expand(func(string) string { return "x" }))
	if err != nil {
		return c, err
	}
	if _, fixed := c.path.Fixed(); fixed {
		c.url = u
	}
	beforeQuery, _, _ := strings.Cut(r.Path, "?")
	c.one = strings.Contains(beforeQuery, "{key}") || strings.Contains(beforeQuery, "{id}")
	if r.Body != "" {
		if c.body, err = jq.Compile(r.Body, bodyVariables...); err != nil {
			return c, invalid("body", "%s", err)
		}
	}
	return c, nil
}

// resolve appends a path and its query to the URL, whose host it can't change.
func resolve(base *url.URL, path string) (*url.URL, error) {
	if path != "" && path[0] != '/' && path[0] != '?' {
		return nil, invalid("path", "must begin with /")
	}
	if strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }) {
		return nil, invalid("path", "spaces, # and characters outside of ASCII must be percent-encoded")
	}
	whole := strings.TrimSuffix(base.String(), "/") + path
	u, err := url.Parse(whole)
	if err != nil || u.Host != base.Host {
		return nil, invalid("path", "does not make a URL")
	}
	u.Path = cmp.Or(u.Path, "/")
	return u, nil
}

// Write sends the batch's records. What comes again makes the same groups of what is left.
func (d *destination) Write(ctx context.Context, b connectors.Batch) (connectors.Result, error) {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return connectors.NewResult(len(b.Records)), err
	}
	defer leave()
	plan := delivery.Plan{
		Concurrency: d.settings.Concurrency,
		Together:    func(x, y *connectors.Record) bool { return d.together(&b, x, y) },
		Send:        func(ctx context.Context, group []int) delivery.Verdict { return d.send(ctx, &b, group) },
	}
	if d.settings.Batch != nil {
		plan.Records, plan.Bytes = d.settings.Batch.Records, d.settings.Batch.Bytes
	}
	return delivery.Write(ctx, &b, plan)
}

// Check proves that the host can be reached and, with a path to ask, that it answers these credentials with 2xx. It changes nothing.
func (d *destination) Check(ctx context.Context) error {
	if d.settings.Check == "" {
		return outbound.Probe(ctx, d.base.String(), d.net)
	}
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	u, err := d.settings.checkURL(d.base)
	if err != nil {
		return err
	}
	status, header, _, failed := d.call(ctx, "check", http.MethodGet, u, d.header.Clone(), nil)
	if failed != nil {
		return failed
	}
	if v := delivery.Judge("check", status, header, d.now(), advice); v.Err != nil {
		return v.Err
	}
	return nil
}

// Close makes running Writes fail as Unavailable and returns when they have.
func (d *destination) Close() error {
	d.gate.Close()
	d.client.CloseIdleConnections()
	return nil
}
