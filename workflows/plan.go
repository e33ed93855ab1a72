package workflows

import (
	"slices"
	"time"

	"tributary/internal/integration"
)

// Plan is what the workflow must know of a definition revision. Settings, filters and maps stay in the
// catalog, where activities read them.
type Plan struct {
	Revision int                     `json:"revision"`
	Trigger  integration.TriggerKind `json:"trigger"`
	Interval time.Duration           `json:"interval,omitempty"`
	Streams  []string                `json:"streams"`
	Lanes    []LanePlan              `json:"lanes"`
	Backlog  int64                   `json:"backlog"`
	Keep     time.Duration           `json:"keep,omitempty"`
	// Timing is changed by tests only.
	Timing Timing `json:"timing,omitzero"`
}

// LanePlan is a destination block as the workflow sees it.
type LanePlan struct {
	Name     string        `json:"name"`
	Streams  []string      `json:"streams,omitempty"` // nil = all
	Optional bool          `json:"optional,omitempty"`
	Records  int           `json:"records"`
	Bytes    int64         `json:"bytes"`
	Age      time.Duration `json:"age,omitempty"`
}

// PlanOf reads a normalised definition.
func PlanOf(spec integration.Spec, revision int) Plan {
	p := Plan{
		Revision: revision,
		Trigger:  spec.Source.Trigger.Kind,
		Interval: time.Duration(spec.Source.Trigger.Interval),
		Streams:  slices.Clone(spec.Source.Streams),
		Backlog:  spec.BacklogBytes,
		Keep:     time.Duration(spec.Retention),
	}
	if p.Backlog == 0 {
		p.Backlog = integration.DefaultBacklogBytes
	}
	for _, d := range spec.Destinations {
		l := LanePlan{
			Name:     d.Name,
			Streams:  slices.Clone(d.Streams),
			Optional: !d.IsRequired(),
			Records:  d.Batch.Records,
			Bytes:    d.Batch.Bytes,
			Age:      time.Duration(d.Batch.Age),
		}
		if l.Records == 0 {
			l.Records = integration.DefaultBatchRecords
		}
		if l.Bytes == 0 {
			l.Bytes = integration.DefaultBatchBytes
		}
		p.Lanes = append(p.Lanes, l)
	}
	return p
}

// Polls reports whether timers read the source.
func (p Plan) Polls() bool { return p.Trigger != integration.Realtime }

// Receives reports whether webhooks come.
func (p Plan) Receives() bool { return p.Trigger != integration.Polling }

// Reconciles reports whether polls look for what webhooks missed.
func (p Plan) Reconciles() bool { return p.Trigger == integration.Both }

func (p Plan) lane(name string) (LanePlan, bool) {
	for _, l := range p.Lanes {
		if l.Name == name {
			return l, true
		}
	}
	return LanePlan{}, false
}

// Takes reports whether the lane wants the stream.
func (l LanePlan) Takes(stream string) bool {
	return len(l.Streams) == 0 || slices.Contains(l.Streams, stream)
}

// Timing holds the engine's own periods; a zero field means its default.
type Timing struct {
	// Events of history after which a run continues as new.
	Events int `json:"events,omitempty"`
	// Heartbeat is how long a silent worker is believed to live.
	Heartbeat time.Duration `json:"heartbeat,omitempty"`
	// Backoff is the first and MaxBackoff the longest pause after a failure.
	Backoff    time.Duration `json:"backoff,omitempty"`
	MaxBackoff time.Duration `json:"max_backoff,omitempty"`
	// Publish is how often the low-water mark is told to the catalog when it moved.
	Publish time.Duration `json:"publish,omitempty"`
	// Heal is how often the app's webhook subscriptions are looked at.
	Heal time.Duration `json:"heal,omitempty"`
	// Flush bounds how long an uninstall tries to deliver what is left, Closing each other step of it.
	Flush   time.Duration `json:"flush,omitempty"`
	Closing time.Duration `json:"closing,omitempty"`
	// Install bounds how long an install waits for what is merely unavailable.
	Install time.Duration `json:"install,omitempty"`
	// Chunk bounds what one fetch activity reads.
	ChunkRecords int           `json:"chunk_records,omitempty"`
	ChunkBytes   int64         `json:"chunk_bytes,omitempty"`
	ChunkTime    time.Duration `json:"chunk_time,omitempty"`
	// Roll is how many entries the queue holds before old ones roll into a manifest.
	Roll int `json:"roll,omitempty"`
}

func (t Timing) withDefaults() Timing {
	or := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if t.Events == 0 {
		t.Events = 2000
	}
	or(&t.Heartbeat, 10*time.Second)
	or(&t.Backoff, time.Second)
	or(&t.MaxBackoff, 5*time.Minute)
	or(&t.Publish, 10*time.Minute)
	or(&t.Heal, 15*time.Minute)
	or(&t.Flush, time.Minute)
	or(&t.Closing, 30*time.Second)
	or(&t.Install, time.Minute)
	or(&t.ChunkTime, 10*time.Second)
	if t.ChunkRecords == 0 {
		t.ChunkRecords = 25_000 // the next chunk is read while one is written; only the last write has nothing beside it
	}
	if t.ChunkBytes == 0 {
		t.ChunkBytes = 32 << 20
	}
	if t.Roll == 0 {
		t.Roll = 256
	}
	return t
}
