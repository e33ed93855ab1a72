// Package replay proves that today's workflow code goes on with what was recorded by releases before: each file under
// histories is the history of a real run, kept for ever. `make histories` records more.
package replay

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"tributary/workflows"
)

// shapes are the ways of running of which at least one history is there.
var shapes = []string{"idle", "busy", "failing", "paused", "reconfigured", "continued", "reset", "polling", "uninstalled", "completed", "split", "waiting"}

func load(t *testing.T, file string) *history.History {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, err := client.HistoryFromJSON(f, client.HistoryJSONOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func replayer(t *testing.T, installation any) worker.WorkflowReplayer {
	t.Helper()
	r, err := worker.NewWorkflowReplayerWithOptions(worker.WorkflowReplayerOptions{DisableRegistrationAliasing: true})
	if err != nil {
		t.Fatal(err)
	}
	r.RegisterWorkflowWithOptions(installation, workflow.RegisterOptions{Name: workflows.InstallationName})
	return r
}

func files(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob("histories/*.json")
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestRecordedHistoriesReplay(t *testing.T) {
	t.Parallel()
	have := map[string]bool{}
	for _, file := range files(t) {
		shape, _, _ := strings.Cut(filepath.Base(file), ".")
		have[shape] = true
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			if err := replayer(t, workflows.Installation).ReplayWorkflowHistory(nil, load(t, file)); err != nil {
				t.Error(err)
			}
		})
	}
	for _, shape := range shapes {
		if !have[shape] {
			t.Errorf("no history of the shape %q", shape)
		}
	}
}

// An incompatible change is noticed: this one looks after webhooks before it does anything else.
func TestIncompatibleChangeFails(t *testing.T) {
	t.Parallel()
	changed := func(ctx workflow.Context, in workflows.Input) (*workflows.Summary, error) {
		if err := workflow.Sleep(ctx, 1); err != nil {
			return nil, err
		}
		return workflows.Installation(ctx, in)
	}
	tried := 0
	for _, file := range files(t) {
		h := load(t, file)
		if len(h.Events) < 5 || h.Events[3].GetEventType() == enums.EVENT_TYPE_WORKFLOW_EXECUTION_UPDATE_ACCEPTED {
			continue
		}
		tried++
		err := replayer(t, changed).ReplayWorkflowHistory(nil, h)
		if err == nil || !strings.Contains(err.Error(), "TMPRL1100") {
			t.Errorf("%s: the change went unnoticed: %v", file, err)
		}
	}
	if tried == 0 {
		t.Error("no history to try it on")
	}
}
