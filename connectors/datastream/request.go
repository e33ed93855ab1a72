package datastream

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// executions is the namespace (RFC 9562, version 5) of X-Alloy-ExecutionUuid.
var executions = uuid.MustParse("5a1c8d0e-7f3b-4c62-9b0d-2f6e4a9c1d37")

// post sends the records of a batch that group names, which are of one stream and Op, and judges the answer.
func (d *destination) post(ctx context.Context, b *connectors.Batch, group []int) verdict {
	body := d.body(b.Records, group)
	header, failed := d.headers(b, group, body)
	if failed != nil {
		return verdict{err: failed}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(body))
	if err != nil {
		return verdict{err: connectors.Errorf(connectors.Invalid, "post", "the URL cannot be called")}
	}
	req.Header = header
	res, err := d.client.Do(req)
	if err != nil {
		return verdict{err: outbound.AsError("post", err)}
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
	id := messageID(b, group)
	h := d.header.Clone()
	h.Set("X-Alloy-WorkflowId", headerText(b.Installation))
	h.Set("X-Alloy-UserId", headerText(b.User))
	h.Set("X-Alloy-BlockName", headerText(b.Lane))
	h.Set("X-Alloy-BlockType", "datastream")
	execution := fmt.Sprintf("%s/%s/%d", b.Epoch, b.Lane, first.Ordinal)
	h.Set("X-Alloy-ExecutionUuid", uuid.NewSHA1(executions, []byte(execution)).String())

	// CloudEvents 1.0, HTTP protocol binding, binary content mode.
	source := url.URL{Path: "/installations/" + b.Installation + "/streams/" + first.Stream}
	h.Set("Ce-Specversion", "1.0")
	h.Set("Ce-Type", headerText("tributary."+first.Stream+"."+string(first.Op)))
	h.Set("Ce-Source", headerText(source.EscapedPath()))
	h.Set("Ce-Id", id)
	if !d.settings.Array {
		h.Set("Ce-Id", headerText(first.ID))
		if first.Key != "" {
			h.Set("Ce-Subject", headerText(first.Key))
		}
		if !first.OccurredAt.IsZero() {
			h.Set("Ce-Time", first.OccurredAt.UTC().Format(time.RFC3339Nano))
		}
	}
	return h, d.keys.sign(h, d.url, id, d.now(), body)
}

// messageID is the webhook-id by which a receiver knows a message that comes again (I3): a hash of the installation and of each
// record's stream and ID. It holds no dot, which would be ambiguous in what Standard Webhooks signs.
func messageID(b *connectors.Batch, group []int) string {
	h := sha256.New()
	field := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		io.WriteString(h, s)
	}
	field(b.Installation)
	for _, i := range group {
		field(b.Records[i].Stream)
		field(b.Records[i].ID)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// headerText percent-encodes what may not stand in a header, as section 3.1.3.2 of the CloudEvents HTTP binding says: all but
// printable ASCII, and space, double quote and percent.
func headerText(s string) string {
	plain := func(c byte) bool { return c > ' ' && c < 0x7f && c != '"' && c != '%' }
	for i := range len(s) {
		if plain(s[i]) {
			continue
		}
		var b strings.Builder
		for i := range len(s) {
			if plain(s[i]) {
				b.WriteByte(s[i])
			} else {
				fmt.Fprintf(&b, "%%%02X", s[i])
			}
		}
		return b.String()
	}
	return s
}

// verdict is what a POST came to: nil err means that the endpoint has it for good.
type verdict struct {
	err *connectors.Error
	// refused says that the endpoint refuses this content, for ever, and that others may pass.
	refused bool
}

// judge reads an answer. Of what it holds only the status is told (I7).
func judge(status int, header http.Header, now time.Time) verdict {
	fault := func(kind connectors.Kind, advice string) verdict {
		message := "the endpoint answered " + strconv.Itoa(status)
		if text := http.StatusText(status); text != "" {
			message += " " + text
		}
		return verdict{err: connectors.Errorf(kind, "post", "%s%s", message, advice)}
	}
	later := func(kind connectors.Kind) verdict {
		v := fault(kind, "")
		v.err.Wait = outbound.RetryAfter(header.Get("Retry-After"), now)
		return v
	}
	switch status {
	case 400, 409, 413, 422, 431:
		v := fault(connectors.Invalid, ": it does not accept this record")
		v.refused = true
		return v
	case 401, 402, 403, 407, 451:
		return fault(connectors.Forbidden, ": it refuses our calls; see that it verifies with the published key and a current secret")
	case 404:
		return fault(connectors.NotFound, ": correct the URL or create the endpoint")
	case 410:
		return fault(connectors.Gone, ": it takes nothing any more; resume when it does")
	case 408, 421, 425:
		return later(connectors.Unavailable)
	case 429:
		return later(connectors.RateLimited)
	}
	switch status / 100 {
	case 2:
		return verdict{}
	case 3:
		return fault(connectors.Invalid, ": redirects are not followed; set the final URL")
	case 4:
		return fault(connectors.Invalid, ": the endpoint does not take what Data Stream sends; correct the endpoint or the URL")
	case 5:
		return later(connectors.Unavailable)
	}
	return fault(connectors.Unknown, "")
}
