package eventbridge

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"path"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"

	"tributary/connectors"
	"tributary/connectors/delivery"
	"tributary/connectors/template"
)

// metadata is what is known of a record. By installation, stream and id a reader knows an event when it comes again (I3).
type metadata struct {
	ID           string `json:"id"`
	Stream       string `json:"stream"`
	Key          string `json:"key,omitempty"`
	Op           string `json:"op"`
	Version      string `json:"version"` // text: it has more digits than readers' numbers have
	Installation string `json:"installation"`
	Integration  string `json:"integration"`
	User         string `json:"user"`
	OccurredAt   string `json:"occurred_at,omitempty"`
	ReceivedAt   string `json:"received_at,omitempty"`
}

// pointer says where a payload is that was too large for an event.
type pointer struct {
	URL    string `json:"url"`
	Bytes  int    `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// event is a record on its way: all of an entry but the payload.
type event struct {
	source, detailType string
	time               *time.Time
	metadata           []byte
}

func (d *destination) event(b *connectors.Batch, r *connectors.Record) event {
	e := event{
		source:     d.source.Expand(func(v string) string { return template.Value(b, r, v) }),
		detailType: d.detailType.Expand(func(v string) string { return template.Value(b, r, v) }),
	}
	for _, at := range []time.Time{r.OccurredAt, r.ReceivedAt} {
		if delivery.Time(at) != "" && at.Unix() >= 0 {
			e.time = aws.Time(at)
			break
		}
	}
	e.metadata, _ = json.Marshal(metadata{ // which strings alone can't fail
		ID: r.ID, Stream: r.Stream, Key: r.Key, Op: string(r.Op), Version: strconv.FormatInt(r.Version, 10),
		Installation: b.Installation, Integration: b.Integration, User: b.User,
		OccurredAt: delivery.Time(r.OccurredAt), ReceivedAt: delivery.Time(r.ReceivedAt),
	})
	return e
}

const (
	opening   = `{"metadata":`
	inline    = `,"data":`
	elsewhere = `,"data_at":`
)

// size is that of an entry as EventBridge counts it, whose detail holds n bytes more than the metadata:
// https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size
func (e event) size(n int) int {
	size := len(e.source) + len(e.detailType) + len(opening) + len(e.metadata) + len(inline) + n + len("}")
	if e.time != nil {
		size += 14
	}
	return size
}

func (d *destination) size(b *connectors.Batch, r *connectors.Record) int {
	return d.event(b, r).size(len(r.Data))
}

// entry makes what PutEvents takes of a record. The payload stands in it as it came (I8), which is why it must be JSON.
func (d *destination) entry(ctx context.Context, b *connectors.Batch, r *connectors.Record) (types.PutEventsRequestEntry, delivery.Verdict) {
	var none types.PutEventsRequestEntry
	e := d.event(b, r)
	switch {
	case utf8.RuneCountInString(e.detailType) > maxDetailType:
		return none, refused("the detail type is longer than the %d characters that EventBridge takes", maxDetailType)
	case utf8.RuneCountInString(e.source) > maxSource:
		return none, refused("the source is longer than %d characters", maxSource)
	case !utf8.ValidString(r.ID + r.Stream + r.Key):
		return none, refused("the record's ID, stream or key is not valid UTF-8")
	}
	name, value := inline, r.Data
	if len(r.Data) > 0 { // a delete may have none
		if err := connectors.CheckPayload("", r.Data); err != nil {
			return none, refused("%s", err)
		}
		if n := e.size(len(r.Data)); n > d.settings.MaxBytes {
			if d.bucket == nil {
				return none, refused("the event of %d bytes is larger than the %d that it may have; settings can name a bucket for such payloads (overflow)", n, d.settings.MaxBytes)
			}
			at, err := d.overflow(ctx, b, r)
			if err != nil {
				return none, delivery.Verdict{Err: err}
			}
			name, value = elsewhere, at
		}
	}
	detail := make([]byte, 0, len(opening)+len(e.metadata)+len(name)+len(value)+1)
	detail = append(append(detail, opening...), e.metadata...)
	if len(value) > 0 {
		detail = append(append(detail, name...), value...)
	}
	detail = append(detail, '}')
	return types.PutEventsRequestEntry{
		EventBusName: aws.String(d.settings.Bus), Source: aws.String(e.source), DetailType: aws.String(e.detailType), Time: e.time, Detail: aws.String(string(detail)),
	}, delivery.Verdict{}
}

func refused(format string, args ...any) delivery.Verdict {
	return delivery.Verdict{Refused: true, Err: connectors.Errorf(connectors.Invalid, "", format, args...)}
}

// overflow puts a payload into the bucket and returns what the event says instead of it. The name tells epoch, lane, ordinal and content, and is
// written once (I3): what is there under it is the same.
func (d *destination) overflow(ctx context.Context, b *connectors.Batch, r *connectors.Record) ([]byte, *connectors.Error) {
	sum := sha256.Sum256(r.Data)
	name := path.Join(d.prefix, url.PathEscape(b.Epoch), url.PathEscape(b.Lane), fmt.Sprintf("%d-%x.json", r.Ordinal, sum[:8]))
	err := d.bucket.WriteAll(ctx, name, r.Data, &blob.WriterOptions{ContentType: "application/json", IfNotExist: true})
	if err != nil && gcerrors.Code(err) != gcerrors.FailedPrecondition {
		return nil, failed("put overflow", err)
	}
	bucket := bucketRule.FindStringSubmatch(d.settings.Overflow)[1]
	at, _ := json.Marshal(pointer{URL: "s3://" + bucket + "/" + name, Bytes: len(r.Data), SHA256: hex.EncodeToString(sum[:])})
	return at, nil
}
