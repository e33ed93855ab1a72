package activities

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"tributary/connectors"
	"tributary/internal/segment"
)

// Reconciliation recognises one change that came by webhook and by poll through (stream, key, version). A poll leaves out
// what a webhook brought; a webhook that comes after the poll found the change is recognised when it is written.

// extraAge is how late a webhook may come and still be recognised; maxExtras bounds what is remembered for it.
const (
	extraAge  = 24 * time.Hour
	maxExtras = 200_000
)

// changeOf stands for a change.
func changeOf(stream, key string, version int64) fingerprint {
	return fingerprintOf(connectors.RecordID(stream, key, version, nil))
}

// cameByWebhook reads which changes webhooks brought since the poll before the last: their segments are kept that long.
func (a *Activities) cameByWebhook(ctx context.Context, in FetchInput) (memory, error) {
	m := make(memory)
	prefix := segment.Name{Epoch: in.Epoch, Stream: in.Stream}.Prefix()
	for object, err := range a.Segments.List(ctx, prefix) {
		if err != nil {
			return nil, storeError("list segments", err)
		}
		n, err := segment.ParseName(object.Name)
		if err != nil {
			continue
		}
		from, ok := in.Seen[n.Origin]
		if !ok || n.Sequence < from {
			continue
		}
		s, err := a.Segments.Load(ctx, object.Name)
		if err != nil {
			return nil, storeError("read segment", err)
		}
		for _, r := range s.Records() {
			if r.Version != 0 && r.Key != "" {
				m[changeOf(r.Stream, r.Key, r.Version)] = 0
			}
		}
	}
	return m, nil
}

// extras reads the changes that polls found and no webhook had brought.
func (a *Activities) extras(ctx context.Context, name string) (memory, error) {
	if name == "" {
		return make(memory), nil
	}
	raw, err := a.Segments.Get(ctx, name)
	if errors.Is(err, os.ErrNotExist) {
		return make(memory), nil // a workflow reset went back to it; the records' keys keep the effect once
	}
	if err != nil {
		return nil, storeError("read extras", err)
	}
	_, m, err := decode(raw)
	return m, err
}

func (a *Activities) saveExtras(ctx context.Context, in FetchInput, m memory) (string, error) {
	m.forget(a.Env.Time().Add(-extraAge))
	for f := range m {
		if len(m) <= maxExtras {
			break
		}
		delete(m, f)
	}
	return a.put(ctx, segment.Name{
		Epoch: in.Epoch, Stream: in.Stream, Origin: Origin(ExtraOrigin, in.Suffix), Sequence: in.ExtraSequence, Suffix: attempt(),
	}, encode(nil, m))
}

// byWebhook reports whether a segment holds what webhooks brought: those of polls and redeliveries are numbered by the workflow.
func byWebhook(name string) bool {
	n, err := segment.ParseName(name)
	if err != nil {
		return false
	}
	kind, _, _ := strings.Cut(n.Origin, ".")
	return kind != PollOrigin && kind != RequeueOrigin
}
