package httpapi

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/jq"
	"tributary/connectors/outbound"
	"tributary/connectors/template"
)

// advice says what to do about an answer.
var advice = map[connectors.Kind]string{
	connectors.Unauthorized: "the credentials are not accepted; connect again",
	connectors.Forbidden:    "the credentials lack a right for this",
	connectors.NotFound:     "correct url and path",
	connectors.Gone:         "it takes nothing any more; resume when it does",
	connectors.Invalid:      "it does not take such requests; correct method, path and headers",
}

func (d *destination) request(r *connectors.Record) *request {
	if r.Op == connectors.Delete {
		return &d.gone
	}
	return &d.upsert
}

func headerText(b *connectors.Batch, r *connectors.Record, t template.Template) string {
	return t.Expand(func(variable string) string { return outbound.HeaderText(template.Value(b, r, variable)) })
}

func pathText(b *connectors.Batch, r *connectors.Record, t template.Template) string {
	return t.Expand(func(variable string) string { return segment(template.Value(b, r, variable)) })
}

// segment percent-encodes a value so that it is one segment of a path, or one value of a query, wherever it stands. A dot alone would
// lead elsewhere.
func segment(value string) string {
	if value == "." || value == ".." {
		return strings.ReplaceAll(value, ".", "%2E")
	}
	return strings.ReplaceAll(url.QueryEscape(value), "+", "%20")
}

// together says whether the records' requests differ in nothing but the body.
func (d *destination) together(b *connectors.Batch, x, y *connectors.Record) bool {
	if d.request(x) != d.request(y) || pathText(b, x, d.request(x).path) != pathText(b, y, d.request(y).path) {
		return false
	}
	for _, t := range d.headers {
		if headerText(b, x, t) != headerText(b, y, t) {
			return false
		}
	}
	return true
}

// send makes one request and judges its answer.
func (d *destination) send(ctx context.Context, b *connectors.Batch, group []int) delivery.Verdict {
	first := &b.Records[group[0]]
	r := d.request(first)
	if first.Key == "" && r.path.Uses("key") {
		return delivery.Verdict{Err: connectors.Errorf(connectors.Invalid, "path", "the record has no key to put into the path"), Refused: true}
	}
	body, err := d.body(ctx, b, group)
	if err != nil {
		e := connectors.AsError("body", err)
		return delivery.Verdict{Err: e, Refused: e.Kind == connectors.Invalid}
	}
	u := r.url
	if u == nil {
		if u, err = resolve(d.base, pathText(b, first, r.path)); err != nil {
			return delivery.Verdict{Err: connectors.AsError("path", err)}
		}
	}
	header := d.header.Clone()
	header.Set(d.settings.IDHeader, delivery.ID(b, group))
	for name, t := range d.headers {
		header.Set(name, headerText(b, first, t))
	}
	status, answered, answer, failed := d.call(ctx, "send", r.method, u, header, body)
	if failed != nil {
		return delivery.Verdict{Err: failed}
	}
	v := delivery.Judge("send", status, answered, d.now(), advice)
	if r.one && (status == http.StatusNotFound || status == http.StatusGone) {
		// There is no such object: that is as it should be when it is to be deleted, and speaks of this record alone otherwise.
		v.Refused = true
		if first.Op == connectors.Delete && r.method == http.MethodDelete {
			v = delivery.Verdict{}
		}
	}
	return d.rules.judge(ctx, v, status, answered, answer, d.now())
}

// call makes a request with the header, which is its own, and reads the answer whole. Its error is fit to be shown.
func (d *destination) call(ctx context.Context, op, method string, u *url.URL, header http.Header, body []byte) (int, http.Header, []byte, *connectors.Error) {
	req, err := http.NewRequestWithContext(ctx, method, "", bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, connectors.Errorf(connectors.Invalid, op, "the URL cannot be called")
	}
	req.URL, req.Header = u, header // and is not parsed again
	if len(body) > 0 && header["Content-Type"] == nil {
		header["Content-Type"] = []string{"application/json"}
	}
	res, err := d.client.Do(req)
	if err != nil {
		return 0, nil, nil, outbound.AsError(op, err)
	}
	defer res.Body.Close()
	// The status is known; where the body breaks off or is too large, no rule fits it.
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		answer = nil
	}
	return res.StatusCode, res.Header, answer, nil
}

// body is the record's own bytes (I8), what the program makes of them, or of a group the array of these. An error of kind Invalid lies in
// a record.
func (d *destination) body(ctx context.Context, b *connectors.Batch, group []int) ([]byte, error) {
	size := maxGrowth
	for _, i := range group {
		size += len(b.Records[i].Data)
	}
	mapped := d.request(&b.Records[group[0]]).body
	if d.settings.Batch == nil {
		r := &b.Records[group[0]]
		if mapped == nil {
			return r.Data, nil
		}
		v, err := run(ctx, b, r, mapped)
		if err != nil {
			return nil, err
		}
		return jq.Encode("body", v, size)
	}
	if mapped == nil && d.wrap == nil {
		return join(b, group), nil
	}
	bodies := make([]any, 0, len(group))
	for _, i := range group {
		v, err := run(ctx, b, &b.Records[i], mapped)
		if err != nil {
			return nil, err
		}
		bodies = append(bodies, v)
	}
	var whole any = bodies
	if d.wrap != nil {
		var ok bool
		var err error
		if whole, ok, err = d.wrap.One(ctx, "batch.body", bodies); err != nil {
			return nil, err
		} else if !ok {
			return nil, invalid("batch.body", "the program gives nothing; filter records by the block's filter")
		}
	}
	return jq.Encode("batch.body", whole, size)
}

// run makes the body of a record; without a program it is the payload.
func run(ctx context.Context, b *connectors.Batch, r *connectors.Record, p *jq.Program) (any, error) {
	if len(r.Data) > 0 {
		if err := connectors.CheckPayload("body", r.Data); err != nil {
			return nil, err
		}
	}
	payload, err := jq.Payload(r.Data)
	if err != nil || p == nil {
		return payload, err
	}
	v, ok, err := p.One(ctx, "body", payload, append(jq.Values(r), int(r.Version), b.Installation, b.Integration, b.User)...)
	if err == nil && !ok {
		err = invalid("body", "the program gives nothing; filter records by the block's filter")
	}
	return v, err
}

// join is an array of the payloads' own bytes, an empty one as null.
func join(b *connectors.Batch, group []int) []byte {
	size := 1
	for _, i := range group {
		size += max(len(b.Records[i].Data), len("null")) + 1
	}
	body := append(make([]byte, 0, size), '[')
	for n, i := range group {
		if n > 0 {
			body = append(body, ',')
		}
		if len(b.Records[i].Data) == 0 {
			body = append(body, "null"...)
		}
		body = append(body, b.Records[i].Data...)
	}
	return append(body, ']')
}

// rules are the block's own about answers; nil where it has none.
type rules struct{ success, retry, reject *rule }

type rule struct {
	status []string
	body   *jq.Program
}

var statusRule = regexp.MustCompile(`^[1-5]([0-9][0-9]|xx)$`)

func compileRules(s Settings) (c rules, err error) {
	for _, r := range []struct {
		name string
		from *Rule
		to   **rule
	}{{"success", s.Success, &c.success}, {"retry", s.Retry, &c.retry}, {"reject", s.Reject, &c.reject}} {
		if r.from == nil {
			continue
		}
		if len(r.from.Status) == 0 && r.from.Body == "" {
			return c, invalid(r.name, "give status, body or both")
		}
		for _, status := range r.from.Status {
			if !statusRule.MatchString(status) {
				return c, invalid(r.name, "status %.20q: want one such as 409 or a class such as 5xx", status)
			}
		}
		compiled := &rule{status: r.from.Status}
		if r.from.Body != "" {
			if compiled.body, err = jq.Compile(r.from.Body, "$status"); err != nil {
				return c, invalid(r.name, "body: %s", err)
			}
		}
		*r.to = compiled
	}
	return c, nil
}

// fits says whether an answer is what the rule means. A condition that fails on an answer doesn't fit it.
func (r *rule) fits(ctx context.Context, status int, answer any) bool {
	if r == nil {
		return false
	}
	code := strconv.Itoa(status)
	if len(r.status) > 0 && !slices.Contains(r.status, code) && !slices.Contains(r.status, code[:1]+"xx") {
		return false
	}
	if r.body == nil {
		return true
	}
	holds, err := r.body.Holds(ctx, "rule", answer, status)
	return err == nil && holds
}

// judge lets the block's rules, the gravest first, decide over what the status alone says.
func (c *rules) judge(ctx context.Context, byStatus delivery.Verdict, status int, header http.Header, raw []byte, now time.Time) delivery.Verdict {
	var answer any
	if c.reads() {
		answer, _ = jq.Decode(raw)
	}
	switch {
	case c.reject.fits(ctx, status, answer):
		return delivery.Verdict{Err: delivery.Answered(connectors.Invalid, "send", status, "it does not accept this record, by the rule reject"), Refused: true}
	case c.retry.fits(ctx, status, answer):
		if byStatus.Err == nil || byStatus.Err.Kind != connectors.Unavailable && byStatus.Err.Kind != connectors.RateLimited {
			byStatus = delivery.Verdict{Err: delivery.Answered(connectors.Unavailable, "send", status, "which is to be tried again, by the rule retry")}
			byStatus.Err.Wait = outbound.RetryAfter(header.Get("Retry-After"), now)
		}
	case c.success.fits(ctx, status, answer):
		return delivery.Verdict{}
	case c.success != nil && byStatus.Err == nil:
		return delivery.Verdict{Err: delivery.Answered(connectors.Unknown, "send", status, "the rule success does not fit this answer, and no other rule does")}
	}
	return byStatus
}

// reads says whether a rule looks into answers.
func (c *rules) reads() bool {
	return slices.ContainsFunc([]*rule{c.success, c.retry, c.reject}, func(r *rule) bool { return r != nil && r.body != nil })
}
