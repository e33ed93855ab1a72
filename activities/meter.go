package activities

import (
	"context"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"

	"tributary/connectors"
	"tributary/internal/block"
	"tributary/internal/catalog"
)

// slotTime is for how long a slot is taken at once: longer than a page may take and is read again, so that it does not run out
// under a worker that lives.
const slotTime = 2*pageTimeout + 10*time.Second

// slotWait is after how long it is worth to ask again when all slots are taken.
const slotWait = 2 * time.Second

// patience is for how long a call is waited for where it is to be made. To give the chunk up costs more than that: a timer of the workflow and
// another activity.
const patience = 2 * time.Second

// meter has an activity call the app only as often, and by as many callers at once, as that allows the account.
type meter struct {
	a   *Activities
	src block.Source
	// holder holds the slot: the same at every attempt, so that what a killed worker held, the next attempt has.
	holder string
	slot   slot
}

// slot is one of the callers at once that the app allows the account, for all workers together. A chunk holds one.
type slot struct {
	budget string // that it is of
	name   string
	until  time.Time
}

// of names a budget of the account in the catalog.
func (m *meter) of(budget string) string {
	name := m.src.Definition.Name + "/" + m.src.Account
	if budget != "" {
		name += "/" + budget
	}
	return name
}

// budget is the one that a Fetch is taken from.
func (m *meter) budget(pacer connectors.Pacer, req connectors.FetchRequest) (b connectors.Budget, err error) {
	if pacer == nil {
		return m.src.Definition.Budget, nil
	}
	defer block.Guard(m.src.Definition.Name, &err)
	return pacer.Budget(req), nil
}

// take takes one call of what the app allows the account, by one of the callers that it allows at once.
func (m *meter) take(ctx context.Context, b connectors.Budget) error {
	if m.src.Account == "" {
		return nil
	}
	account := m.of(b.Name)
	_, said := m.a.allowed.of(account)
	if b.Concurrent > 0 || said {
		if err := m.takeSlot(ctx, account, b.Concurrent); err != nil {
			return err
		}
	}
	if b.Calls <= 0 && !said {
		return nil
	}
	grant, err := m.a.Catalog.TakeCalls(ctx, account, b, 1, m.a.Env.Time())
	if err == nil && grant.Calls < 1 && grant.Wait <= patience { // once: who shares the account may take the next window too
		select {
		case <-time.After(grant.Wait):
			grant, err = m.a.Catalog.TakeCalls(ctx, account, b, 1, m.a.Env.Time())
		case <-ctx.Done():
			return connectors.AsError("take budget", ctx.Err())
		}
	}
	if err != nil {
		return catalogError("take budget", err)
	}
	if said || grant.Allowed != (connectors.Budget{}) {
		m.a.allowed.note(account, grant.Allowed)
	}
	if grant.Calls < 1 {
		return &connectors.Error{Kind: connectors.RateLimited, Message: "the account's budget is used up", Wait: grant.Wait}
	}
	return nil
}

// settleTime bounds how long one thing is booked for that has happened already.
const settleTime = 5 * time.Second

// charge books calls that were made besides the one that was taken. They are of the general kind, and so of the definition's own budget, whichever
// the one was taken from.
func (m *meter) charge(ctx context.Context, calls int) {
	if m.src.Account == "" || calls <= 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	if err := m.a.Catalog.ChargeCalls(ctx, m.of(""), m.src.Definition.Budget, calls, m.a.Env.Time()); err != nil {
		activity.GetLogger(ctx).Warn("charge budget", "error", err)
	}
}

// settle books what a page cost besides the call that was taken, and what the app said that it allows. The page is there, so what fails here
// is no reason to give it up: the next page says it again.
func (m *meter) settle(ctx context.Context, b connectors.Budget, page connectors.Page) {
	if m.src.Account == "" {
		return
	}
	m.charge(ctx, page.Calls)
	if page.Allowed == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleTime)
	defer cancel()
	per := b.Per
	if page.Allowed.Name != b.Name {
		per = m.src.Definition.Budget.Per
	}
	account, allowed := m.of(page.Allowed.Name), catalog.Clamp(*page.Allowed, per)
	if before, _ := m.a.allowed.of(account); allowed == before || allowed == (connectors.Budget{}) {
		return
	}
	if err := m.a.Catalog.AllowCalls(ctx, account, allowed); err != nil {
		activity.GetLogger(ctx).Warn("store what the app allows", "error", err)
		return
	}
	m.a.allowed.note(account, allowed)
}

// takeSlot takes a slot, or keeps the one that the activity has.
func (m *meter) takeSlot(ctx context.Context, account string, slots int) error {
	now := m.a.Env.Time()
	if m.slot.budget != account {
		m.leaveSlot(ctx)
	}
	if m.slot.name != "" && now.Add(pageTimeout).Before(m.slot.until) {
		return nil
	}
	if m.slot.name != "" {
		kept, err := m.a.Catalog.AcquireLease(ctx, m.slot.name, m.holder, slotTime, now)
		if err != nil {
			return catalogError("keep slot", err)
		}
		if kept {
			m.slot.until = now.Add(slotTime)
			return nil
		}
	}
	m.slot = slot{}
	allowed, err := m.a.Catalog.AllowedCalls(ctx, account)
	if err != nil {
		return catalogError("take slot", err)
	}
	if allowed.Concurrent > 0 {
		slots = allowed.Concurrent
	}
	if slots <= 0 {
		return nil
	}
	name, err := m.a.Catalog.TakeSlot(ctx, account, slots, m.holder, slotTime, now)
	if err != nil {
		return catalogError("take slot", err)
	}
	if name == "" {
		return &connectors.Error{Kind: connectors.RateLimited, Message: "the account is read by as many at once as its app allows", Wait: slotWait}
	}
	m.slot = slot{budget: account, name: name, until: now.Add(slotTime)}
	return nil
}

// leaveSlot gives the slot up. Where that fails it runs out by itself.
func (m *meter) leaveSlot(ctx context.Context) {
	if m.slot.name == "" {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := m.a.Catalog.ReleaseLease(ctx, m.slot.name, m.holder); err != nil {
		activity.GetLogger(ctx).Warn("release slot", "error", err)
	}
	m.slot = slot{}
}

// allowances remembers, by account, what the catalog was last seen to say that an app allows, so that what does not change is neither
// stored again nor asked for where no app says anything. It is only a memory: every call that is taken brings the catalog's word.
type allowances struct {
	mu sync.Mutex
	m  map[string]connectors.Budget
}

const maxAllowances = 10_000

func (a *allowances) of(account string) (connectors.Budget, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	b, ok := a.m[account]
	return b, ok
}

func (a *allowances) note(account string, b connectors.Budget) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.m == nil || len(a.m) >= maxAllowances {
		a.m = make(map[string]connectors.Budget)
	}
	a.m[account] = b
}
