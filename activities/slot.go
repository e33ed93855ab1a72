package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"

	"tributary/connectors"
)

// slotTime is for how long a slot is taken at once: longer than a page may take and is read again, so that it does not run out
// under a worker that lives. A stream whose worker died goes on in its slot.
const slotTime = 2*pageTimeout + 10*time.Second

// slotWait is after how long it is worth to ask again when all slots are taken.
const slotWait = 2 * time.Second

// slot is one of the callers at once that the app allows the account, for all workers together. A chunk holds one.
type slot struct {
	name, holder string
	until        time.Time
}

// takeSlot takes a slot, or keeps the one that the chunk has.
func (f *fetching) takeSlot(ctx context.Context) error {
	b := f.src.Definition.Budget
	if b.Concurrent <= 0 || f.src.Account == "" {
		return nil
	}
	now := f.a.Env.Time()
	if f.slot.name != "" && now.Add(pageTimeout).Before(f.slot.until) {
		return nil
	}
	if f.slot.name != "" {
		kept, err := f.a.Catalog.AcquireLease(ctx, f.slot.name, f.slot.holder, slotTime, now)
		if err != nil {
			return catalogError("keep slot", err)
		}
		if kept {
			f.slot.until = now.Add(slotTime)
			return nil
		}
	}
	// The same at every attempt and for every chunk of the stream: what a killed worker held, the next attempt has.
	holder := f.in.Ledger + "/" + f.in.Stream
	name, err := f.a.Catalog.TakeSlot(ctx, f.src.Definition.Name+"/"+f.src.Account, b.Concurrent, holder, slotTime, now)
	if err != nil {
		return catalogError("take slot", err)
	}
	if f.slot = (slot{name: name, holder: holder, until: now.Add(slotTime)}); name == "" {
		return &connectors.Error{Kind: connectors.RateLimited, Message: "the account is read by as many at once as its app allows", Wait: slotWait}
	}
	return nil
}

// leaveSlot gives the slot up. Where that fails it runs out by itself.
func (f *fetching) leaveSlot(ctx context.Context) {
	if f.slot.name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := f.a.Catalog.ReleaseLease(ctx, f.slot.name, f.slot.holder); err != nil {
		activity.GetLogger(ctx).Warn("release slot", "error", err)
	}
}
