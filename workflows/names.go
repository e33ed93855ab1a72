// Package workflows holds the installation workflow: deterministic code only.
package workflows

import "go.temporal.io/sdk/temporal"

// These names, and the JSON names of the types in this package, stand in workflow histories. They are
// never renamed; a change of behaviour is gated with workflow.GetVersion.
const (
	InstallationName = "Installation"
	CheckName        = "CheckConnection"

	ArrivalSignal = "arrival"
	StatusQuery   = "status"

	PauseUpdate       = "pause"
	ResumeUpdate      = "resume"
	PollUpdate        = "poll"
	BackfillUpdate    = "backfill"
	FlushUpdate       = "flush"
	ReconfigureUpdate = "reconfigure"
	RedeliverUpdate   = "redeliver"
	UninstallUpdate   = "uninstall"
)

// TaskQueue is where every worker listens.
const TaskQueue = "tributary"

// Search attributes: low in number, stored by Temporal in plain text, changed only when their value does.
var (
	IntegrationAttribute = temporal.NewSearchAttributeKeyKeyword("TributaryIntegration")
	UserAttribute        = temporal.NewSearchAttributeKeyKeyword("TributaryUser")
	HealthAttribute      = temporal.NewSearchAttributeKeyKeyword("TributaryHealth")
)

// Generation is the newest way of working. A run keeps the generation that it began with, and the next one has that of the code
// that it is continued by. So a change that every run meets costs no history of its own, where workflow.GetVersion would record
// it in each of them.
const Generation = lastAlone

// Each generation differs from the one before by what its name says; 0 is the first.
const (
	localWrites = 1 // small batches are written by local activities
	lastAlone   = 2 // what is left of a batch that is too large is tried alone before it counts as too large by itself
)
