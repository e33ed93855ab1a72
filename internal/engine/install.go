package engine

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"tributary/activities"
	"tributary/internal/block"
	"tributary/internal/catalog"
	"tributary/internal/integration"
	"tributary/internal/receiver"
	"tributary/internal/vault"
	"tributary/workflows"
)

// Installed is a fresh installation.
type Installed struct {
	ID    string `json:"id"`
	Epoch string `json:"epoch"`
	RunID string `json:"run_id"`
	// HookURL is where the app sends webhooks; "" where none come. Whoever knows it can send to it, if also the secret.
	HookURL string `json:"hook_url,omitempty"`
	// Manual says that the webhook must be set up in the app by hand.
	Manual bool `json:"manual,omitempty"`
}

// InstallRequest names what to install for whom.
type InstallRequest struct {
	Integration string
	User        string
	// Name tells a second installation of the same integration for the same user from the first; usually empty.
	Name string
	// Timing is for tests.
	Timing workflows.Timing
	// TaskTime is how long a worker that took a workflow task is waited for; 0 = Temporal's own 10 s. It is for tests.
	TaskTime time.Duration
	// Progress, when set, is told what is being waited for.
	Progress func(string)
}

// InstallationID is the workflow ID of an installation.
func InstallationID(integration, user, name string) string {
	id := integration + "/" + user
	if name != "" {
		id += "/" + name
	}
	return id
}

// Install installs the newest revision of an integration for a user and returns when it runs: connections checked,
// webhooks registered. An integration that is installed already is an error that wraps catalog.ErrExists.
func (e *Engine) Install(ctx context.Context, c client.Client, req InstallRequest) (Installed, error) {
	stored, err := e.Catalog.Integration(ctx, req.Integration, 0)
	if err != nil {
		return Installed{}, err
	}
	spec := stored.Spec
	def, err := e.Registry.Lookup(spec.Source.Connector)
	if err != nil {
		return Installed{}, err
	}
	account := ""
	if def.AccountOf != nil && def.Connection != nil {
		owner, name := block.Owner(spec.Source.Hidden, req.User), or(spec.Source.Connection, block.DefaultConnection)
		conn, err := e.Vault.Get(ctx, owner, def.Name, name)
		if errors.Is(err, catalog.ErrNotFound) {
			return Installed{}, block.NoConnection(owner, def.Name, name)
		}
		if err != nil {
			return Installed{}, err
		}
		account = def.AccountOf(conn.Secret)
	}
	id := InstallationID(req.Integration, req.User, req.Name)
	if err := e.clearUnstarted(ctx, c, id); err != nil {
		return Installed{}, err
	}
	token, hash := receiver.NewToken()
	sealed, err := e.Vault.Seal(activities.TokenPurpose, []byte(token))
	if err != nil {
		return Installed{}, err
	}
	out := Installed{ID: id, Epoch: uuid.NewString()}
	if spec.Source.Trigger.Kind.Receives() {
		out.HookURL = e.Config.PublicURL + activities.HookPath(token)
		if def.AppWide {
			out.HookURL = e.Config.PublicURL + activities.AppPath(def.Name, or(spec.Source.Connection, block.DefaultConnection))
		}
	}
	err = e.Catalog.CreateInstallation(ctx, catalog.Installation{
		ID: id, Integration: req.Integration, User: req.User, Name: req.Name, Epoch: out.Epoch, Connector: def.Name, Account: account,
		TokenHash: hash, SealedToken: sealed, Revision: stored.Revision, State: catalog.Installing, CreatedAt: time.Now(),
	})
	if err != nil {
		return out, err
	}
	plan := workflows.PlanOf(spec, stored.Revision)
	plan.Timing = req.Timing
	run, err := c.ExecuteWorkflow(ctx, e.startOptions(id, req), workflows.InstallationName, workflows.Input{
		Installation: id, Integration: req.Integration, User: req.User, Epoch: out.Epoch, Plan: plan, Asked: time.Now(),
		Generation: workflows.Generation,
	})
	if err != nil {
		end := e.Catalog.SetState(context.WithoutCancel(ctx), out.Epoch, catalog.Ended, "could not be started")
		return out, errors.Join(fmt.Errorf("start workflow %s: %w", id, err), end)
	}
	out.RunID = run.GetRunID()
	return e.awaitRunning(ctx, c, out, req.Progress)
}

func (e *Engine) startOptions(id string, req InstallRequest) client.StartWorkflowOptions {
	sum := sha256.Sum256([]byte(req.User))
	return client.StartWorkflowOptions{
		ID: id, TaskQueue: e.Config.taskQueue(), WorkflowTaskTimeout: req.TaskTime,
		WorkflowIDConflictPolicy:                 enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		// One user's backlog does not delay another's: tasks are dealt out by user.
		Priority: temporal.Priority{FairnessKey: hex.EncodeToString(sum[:16])},
		TypedSearchAttributes: temporal.NewSearchAttributes(
			workflows.IntegrationAttribute.ValueSet(req.Integration), workflows.UserAttribute.ValueSet(req.User)),
		StaticSummary: fmt.Sprintf("%s for %s", req.Integration, req.User),
	}
}

// clearUnstarted ends an entry that an interrupted install left in the catalog without a workflow.
func (e *Engine) clearUnstarted(ctx context.Context, c client.Client, id string) error {
	inst, err := e.Catalog.Installation(ctx, id)
	if errors.Is(err, catalog.ErrNotFound) || err == nil && inst.State == catalog.Ended {
		return nil
	}
	if err != nil {
		return err
	}
	d, err := c.DescribeWorkflowExecution(ctx, id, "")
	var gone *serviceerror.NotFound
	running := err == nil && d.GetWorkflowExecutionInfo().GetStatus() == enums.WORKFLOW_EXECUTION_STATUS_RUNNING
	switch {
	case running:
		return exists(fmt.Sprintf("%s is installed already, since %s", id, inst.CreatedAt.Local().Format(time.DateTime)))
	case err != nil && !errors.As(err, &gone):
		return fmt.Errorf("look for workflow %s: %w", id, err)
	case inst.State == catalog.Installing && time.Since(inst.CreatedAt) < time.Minute:
		return exists(fmt.Sprintf("%s is being installed right now", id))
	}
	return e.Catalog.SetState(ctx, inst.Epoch, catalog.Ended, "its workflow had ended")
}

// awaitRunning waits until the workflow says that it runs, or ends because it can't.
func (e *Engine) awaitRunning(ctx context.Context, c client.Client, out Installed, progress func(string)) (Installed, error) {
	if progress != nil {
		progress("checking connections and registering webhooks")
	}
	for {
		qctx, cancel := context.WithTimeout(ctx, 5*time.Second)
		s, err := e.Status(qctx, c, out.ID, out.RunID)
		cancel()
		if err == nil && s.Phase != workflows.Installing && s.Phase != workflows.Ended {
			out.Manual = s.Hooks != nil && s.Hooks.Manual
			return out, nil
		}
		if err == nil && s.Problem != "" && progress != nil {
			progress("tried again: " + s.Problem)
		}
		d, derr := c.DescribeWorkflowExecution(ctx, out.ID, out.RunID)
		if derr == nil {
			switch d.GetWorkflowExecutionInfo().GetStatus() {
			case enums.WORKFLOW_EXECUTION_STATUS_RUNNING, enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
			default:
				return out, cause(c.GetWorkflow(ctx, out.ID, out.RunID).Get(ctx, nil))
			}
		}
		if err != nil && progress != nil {
			progress("waiting for a worker: is one running? (`worker`, or `starter dev`)")
		}
		select {
		case <-ctx.Done():
			return out, fmt.Errorf("%s was started and will run as soon as a worker takes it; gave up waiting: %w", out.ID, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// ErrRefused is what the error of an Update is that the installation declined.
var ErrRefused = errors.New("refused by the installation")

// exists is an error that says by itself what exists.
type exists string

func (e exists) Error() string { return string(e) }

func (exists) Is(target error) bool { return target == catalog.ErrExists }

type refusal string

func (r refusal) Error() string { return string(r) }

func (refusal) Is(target error) bool { return target == ErrRefused }

// cause digs out what an installation's own error says.
func cause(err error) error {
	var app *temporal.ApplicationError
	switch {
	case !errors.As(err, &app):
		return err
	case app.Type() == workflows.Refused:
		return refusal(app.Message())
	}
	return errors.New(app.Message())
}

// Status asks an installation's workflow how it does; runID "" = the current run.
func (e *Engine) Status(ctx context.Context, c client.Client, id, runID string) (workflows.Status, error) {
	var s workflows.Status
	v, err := c.QueryWorkflow(ctx, id, runID, workflows.StatusQuery)
	if err != nil {
		return s, err
	}
	return s, v.Get(&s)
}

// Update asks an installation's workflow to do something and returns when it accepted. operation makes a repeated request
// the same one; "" = a new one.
func (e *Engine) Update(ctx context.Context, c client.Client, id, name, operation string, arg any) (workflows.Accepted, error) {
	if operation == "" {
		operation = uuid.NewString()
	}
	var out workflows.Accepted
	h, err := c.UpdateWorkflow(ctx, client.UpdateWorkflowOptions{
		UpdateID: operation, WorkflowID: id, UpdateName: name, Args: []any{arg}, WaitForStage: client.WorkflowUpdateStageCompleted,
	})
	if err == nil {
		err = h.Get(ctx, &out)
	}
	return out, cause(err)
}

// Save stores a definition and returns its revision; an equal one keeps the revision it had.
func (e *Engine) Save(ctx context.Context, spec integration.Spec) (int, error) {
	if err := integration.Validate(spec, e.Registry); err != nil {
		return 0, err
	}
	return e.Catalog.SaveIntegration(ctx, spec.Defaults(e.Registry))
}

// Operator, App and User name the owners of connections.
var (
	Operator = vault.Operator
	App      = vault.App
	User     = vault.User
)
