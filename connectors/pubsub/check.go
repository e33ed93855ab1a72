package pubsub

import (
	"context"
	"slices"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"tributary/connectors"
)

// publishing is the right that roles/pubsub.publisher grants: https://cloud.google.com/pubsub/docs/access-control
const publishing = "pubsub.topics.publish"

// unnamed is asked about where the topic's name is known only with a record.
const unnamed = "tributary-connection-check"

// Check proves that the topic exists and that the credentials may publish to it. Where the topic's name has variables, it proves only that the
// credentials are accepted. It changes nothing.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	topic, fixed := d.topic.Fixed()
	if !fixed {
		topic = unnamed
	}
	// Of a topic that does not exist the answer is that nothing is permitted, or NOT_FOUND.
	answer, err := d.client.TestIamPermissions(ctx, &iampb.TestIamPermissionsRequest{Resource: d.path(topic), Permissions: []string{publishing}})
	code := status.Code(err)
	emulator := code == codes.Unimplemented // which has no rights to ask for
	switch {
	case !fixed && (err == nil || emulator || code == codes.NotFound || code == codes.PermissionDenied):
		return nil
	case err != nil && !emulator:
		return d.failed("check", topic, err)
	}
	permitted := emulator || slices.Contains(answer.GetPermissions(), publishing)

	// Who may only publish may not look at the topic, and need not.
	_, err = d.client.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: d.path(topic)})
	if err != nil && !(permitted && status.Code(err) == codes.PermissionDenied) {
		return d.failed("check", topic, err)
	}
	if !permitted {
		return connectors.Errorf(connectors.Forbidden, "check", "the credentials may not publish to the topic; %s", d.grant(topic))
	}
	return nil
}
