package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"tributary/activities"
)

// CheckConnection has a worker check a stored connection, which is named and never passed.
func CheckConnection(ctx workflow.Context, in activities.ConnectionInput) (activities.CheckOutput, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		StartToCloseTimeout: 30 * time.Second, ScheduleToCloseTimeout: time.Minute,
		RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 2},
		Summary:     "check " + in.Connector,
	})
	var out activities.CheckOutput
	err := workflow.ExecuteActivity(ctx, activities.CheckConnectionName, in).Get(ctx, &out)
	return out, err
}
