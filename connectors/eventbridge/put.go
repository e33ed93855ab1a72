package eventbridge

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"

	"tributary/connectors"
	"tributary/connectors/delivery"
)

// put sends the records of the batch that group names in one request, which EventBridge works off in order and answers for each entry. Only what
// failed comes again, in order.
func (d *destination) put(ctx context.Context, b *connectors.Batch, group []int) delivery.Verdict {
	each := make([]delivery.Verdict, len(group))
	entries := make([]types.PutEventsRequestEntry, 0, len(group))
	sent := make([]int, 0, len(group)) // places in group
	for n, i := range group {
		entry, unfit := d.entry(ctx, b, &b.Records[i])
		if unfit.Err != nil {
			each[n] = unfit
			continue
		}
		entries, sent = append(entries, entry), append(sent, n)
	}
	if len(entries) == 0 {
		return delivery.Verdict{Each: each}
	}
	out, err := d.account.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: entries})
	if err != nil {
		// Of a request that is refused whole the halves are tried, until the record is found.
		e := failed("put events", err)
		return delivery.Verdict{Err: d.advise(e), Refused: refuses(err)}
	}
	if len(out.Entries) != len(entries) {
		return delivery.Verdict{Err: connectors.Errorf(connectors.Unknown, "put events", "EventBridge answered for %d of %d events", len(out.Entries), len(entries))}
	}
	for k, n := range sent {
		each[n] = d.judge(out.Entries[k])
	}
	return delivery.Verdict{Each: each}
}

// judge reads what became of an entry.
func (d *destination) judge(entry types.PutEventsResultEntry) delivery.Verdict {
	code := aws.ToString(entry.ErrorCode)
	if code == "" {
		return delivery.Verdict{}
	}
	known := meaningOf(code, 0)
	return delivery.Verdict{Err: d.advise(known.error("put events", code)), Refused: known.refuses}
}

// advise says what to grant where a right is missing.
func (d *destination) advise(e *connectors.Error) *connectors.Error {
	if e.Kind == connectors.Forbidden {
		e.Message += "; " + d.grant()
	}
	return e
}
