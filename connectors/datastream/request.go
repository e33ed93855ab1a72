package datastream

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/google/uuid"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/outbound"
)

// executions is the namespace (RFC 9562, version 5) of X-Alloy-ExecutionUuid.
var executions = uuid.MustParse("5a1c8d0e-7f3b-4c62-9b0d-2f6e4a9c1d37")

// post sends the records of a batch that group names, which are of one stream and Op, and judges the answer.
func (d *destination) post(ctx context.Context, b *connectors.Batch, group []int) delivery.Verdict {
	body := d.body(b.Records, group)
	header, failed := d.headers(b, group, body)
	if failed != nil {
		return delivery.Verdict{Err: failed}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return delivery.Verdict{Err: connectors.Errorf(connectors.Invalid, "post", "the URL cannot be called")}
	}
	req.Header = header
	res, err := d.client.Do(req)
	if err != nil {
		return delivery.Verdict{Err: outbound.AsError("post", err)}
	}
	defer res.Body.Close()
	// The status alone decides, and it is known. Reading the rest, which the client bounds, lets the connection be used again.
	_, _ = io.Copy(io.Discard, res.Body)
	return judge(res.StatusCode, res.Header, d.now())
}

// body is the record's own bytes (I8), or an array of several records' own bytes.
func (d *destination) body(records []connectors.Record, group []int) []byte {
	if !d.settings.Array {
		return records[group[0]].Data
	}
	size := 1
	for _, i := range group {
		size += max(len(records[i].Data), len("null")) + 1
	}
	body := append(make([]byte, 0, size), '[')
	for n, i := range group {
		if n > 0 {
			body = append(body, ',')
		}
		if len(records[i].Data) == 0 {
			body = append(body, "null"...) // a delete without a payload
		}
		body = append(body, records[i].Data...)
	}
	return append(body, ']')
}

func (d *destination) headers(b *connectors.Batch, group []int, body []byte) (http.Header, *connectors.Error) {
	first := &b.Records[group[0]]
	id := delivery.ID(b, group)
	h := d.header.Clone()
	h.Set("X-Alloy-WorkflowId", outbound.HeaderText(b.Installation))
	h.Set("X-Alloy-UserId", outbound.HeaderText(b.User))
	h.Set("X-Alloy-BlockName", outbound.HeaderText(b.Lane))
	h.Set("X-Alloy-BlockType", "datastream")
	execution := fmt.Sprintf("%s/%s/%d", b.Epoch, b.Lane, first.Ordinal)
	h.Set("X-Alloy-ExecutionUuid", uuid.NewSHA1(executions, []byte(execution)).String())

	// CloudEvents 1.0, HTTP protocol binding, binary content mode.
	source := url.URL{Path: "/installations/" + b.Installation + "/streams/" + first.Stream}
	h.Set("Ce-Specversion", "1.0")
	h.Set("Ce-Type", outbound.HeaderText("tributary."+first.Stream+"."+string(first.Op)))
	h.Set("Ce-Source", outbound.HeaderText(source.EscapedPath()))
	h.Set("Ce-Id", id)
	if !d.settings.Array {
		h.Set("Ce-Id", outbound.HeaderText(first.ID))
		if first.Key != "" {
			h.Set("Ce-Subject", outbound.HeaderText(first.Key))
		}
		if !first.OccurredAt.IsZero() {
			h.Set("Ce-Time", first.OccurredAt.UTC().Format(time.RFC3339Nano))
		}
	}
	return h, d.keys.sign(h, d.url, id, d.now(), body)
}

// advice says what to do about an answer. It is our signature that an endpoint knows us by: there are no credentials to renew.
var advice = map[connectors.Kind]string{
	connectors.Forbidden: "it refuses our calls; see that it verifies with the published key and a current secret",
	connectors.NotFound:  "correct the URL or create the endpoint",
	connectors.Gone:      "it takes nothing any more; resume when it does",
	connectors.Invalid:   "the endpoint does not take what Data Stream sends; correct the endpoint or the URL",
}

// judge reads an answer.
func judge(status int, header http.Header, now time.Time) delivery.Verdict {
	v := delivery.Judge("post", status, header, now, advice)
	if v.Err != nil && v.Err.Kind == connectors.Unauthorized {
		v.Err = delivery.Answered(connectors.Forbidden, "post", status, advice[connectors.Forbidden])
	}
	return v
}
