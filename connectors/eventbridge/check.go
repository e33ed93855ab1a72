package eventbridge

import (
	"context"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge"
	"github.com/aws/aws-sdk-go-v2/service/eventbridge/types"
	"gocloud.dev/gcerrors"

	"tributary/connectors"
)

// Check proves that the bus is there, that the credentials may put events onto it, and that the bucket is there. It changes nothing.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if d.settings.Bus != defaultBus {
		if err := d.find(ctx, "check"); err != nil {
			return err
		}
	}
	if err := d.try(ctx); err != nil {
		return err
	}
	if d.bucket == nil {
		return nil
	}
	there, err := d.bucket.IsAccessible(ctx)
	switch {
	case err != nil && gcerrors.Code(err) == gcerrors.PermissionDenied:
		return d.advise(connectors.Errorf(connectors.Forbidden, "check", "the credentials may not look at the bucket of overflow"))
	case err != nil:
		return d.advise(failed("check", err))
	case !there:
		return connectors.Errorf(connectors.NotFound, "check", "there is no bucket for overflow of that name, or the credentials may not look at it; %s", d.grant())
	}
	return nil
}

// try asks to put an event that has no source, type and detail. A request without a single complete entry fails as a whole
// (https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html), and so puts nothing; who may not put
// events at all is told that instead.
func (d *destination) try(ctx context.Context) error {
	out, err := d.account.PutEvents(ctx, &eventbridge.PutEventsInput{Entries: []types.PutEventsRequestEntry{{EventBusName: aws.String(d.settings.Bus)}}})
	if err != nil {
		if refuses(err) {
			return nil
		}
		return d.advise(failed("check", err))
	}
	for _, entry := range out.Entries {
		if v := d.judge(entry); v.Err != nil && !v.Refused {
			return v.Err
		}
	}
	return nil
}

// find looks for the bus.
func (d *destination) find(ctx context.Context, op string) *connectors.Error {
	_, err := d.account.DescribeEventBus(ctx, &eventbridge.DescribeEventBusInput{Name: aws.String(d.settings.Bus)})
	if err == nil {
		return nil
	}
	e := failed(op, err)
	if e.Kind == connectors.NotFound {
		e.Message += fmt.Sprintf("; let an administrator run: aws events create-event-bus --name %s", d.settings.Bus)
	}
	return d.advise(e)
}

// grant is the policy that gives the credentials what they need. Looking at the bus is needed, because events that are put onto a bus that is not
// there vanish without an error.
func (d *destination) grant() string {
	bus := d.settings.Bus
	if !strings.HasPrefix(bus, "arn:") {
		bus = "arn:aws:events:*:*:event-bus/" + bus
	}
	policy := fmt.Sprintf(`let an administrator allow: {"Effect":"Allow","Action":["events:PutEvents","events:DescribeEventBus"],"Resource":"%s"}`, bus)
	if d.bucket != nil {
		bucket := bucketRule.FindStringSubmatch(d.settings.Overflow)[1]
		policy += fmt.Sprintf(` and {"Effect":"Allow","Action":["s3:PutObject","s3:ListBucket"],"Resource":["arn:aws:s3:::%s","arn:aws:s3:::%s/*"]}`, bucket, bucket)
	}
	return policy
}
