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

// deletedSchema stands in the place of a schema that was deleted, and encodings are those of messages:
// https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.topics#SchemaSettings
const deletedSchema = "_deleted-schema_"

// Check proves that the topic exists, that the credentials may publish to it, and, where they may look at it, that its schema does not refuse every
// message. Where the topic's name has variables, it proves that the credentials are accepted and that the project has Pub/Sub. It changes nothing.
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
	case !fixed && (err == nil || emulator || code == codes.NotFound || code == codes.PermissionDenied && projectProblem(err) == ""):
		return nil
	case err != nil && !emulator:
		return d.failed("check", topic, err)
	}
	permitted := emulator || slices.Contains(answer.GetPermissions(), publishing)

	// Who may only publish may not look at the topic, and need not.
	found, err := d.client.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: d.path(topic)})
	if err != nil && !(permitted && status.Code(err) == codes.PermissionDenied) {
		return d.failed("check", topic, err)
	}
	if !permitted {
		return connectors.Errorf(connectors.Forbidden, "check", "the credentials may not publish to the topic; %s", d.grant(topic))
	}
	switch schema := found.GetSchemaSettings(); {
	case schema.GetSchema() == deletedSchema:
		return connectors.Errorf(connectors.Invalid, "check", "the topic's schema was deleted, so it takes no message; let an administrator run: gcloud pubsub topics update %s --project=%s --clear-schema-settings", topic, d.settings.Project)
	case schema.GetEncoding() == pubsubpb.Encoding_BINARY:
		return connectors.Errorf(connectors.Invalid, "check", "the topic's schema wants binary messages, and these are JSON; let an administrator run: gcloud pubsub topics update %s --project=%s --message-encoding=json", topic, d.settings.Project)
	}
	return nil
}
