package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/terminal"
	"tributary/workflows"
)

const quarantineHelp = `A record that a destination will never accept, or that could not be delivered before an end, goes to quarantine with the reason. It
stays there until it is redelivered or discarded. What can't be understood of a webhook goes there too, for no lane: it can be shown
and discarded.`

func (a *app) quarantine() *cobra.Command {
	c := &cobra.Command{Use: "quarantine", Short: "Records that a destination did not accept", Long: quarantineHelp,
		Example: `  starter quarantine list customers/ada
  starter quarantine show 17
  starter quarantine redeliver customers/ada --lane endpoint --all`}
	c.AddCommand(a.quarantineList(), a.quarantineShow(), a.quarantineRedeliver(), a.quarantineDiscard())
	return c
}

// quarantineRow is a record in quarantine, without its payload.
type quarantineRow struct {
	ID           int64     `json:"id"`
	Installation string    `json:"installation"`
	Lane         string    `json:"lane"`
	Stream       string    `json:"stream"`
	RecordID     string    `json:"record_id"`
	Key          string    `json:"key,omitempty"`
	Kind         string    `json:"kind"`
	Reason       string    `json:"reason"`
	State        string    `json:"state"`
	Bytes        int64     `json:"bytes"`
	At           time.Time `json:"at"`
}

func quarantined(q catalog.Quarantined) quarantineRow {
	return quarantineRow{
		ID: q.ID, Installation: q.Installation, Lane: q.Lane, Stream: q.Stream, RecordID: q.RecordID, Key: q.Key, Kind: string(q.Kind),
		Reason: q.Reason, State: string(q.State), Bytes: q.Bytes, At: q.At,
	}
}

func (a *app) quarantineList() *cobra.Command {
	var f catalog.QuarantineFilter
	var state string
	c := &cobra.Command{
		Use:   "list [INSTALLATION]",
		Short: "List records in quarantine, with the reasons",
		Example: `  starter quarantine list customers/ada
  starter quarantine list --lane endpoint --state all`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				f.Installation = args[0]
			}
			switch state {
			case "all":
			case string(catalog.Held), string(catalog.Redelivering), string(catalog.Redelivered), string(catalog.Discarded):
				f.State = catalog.QuarantineState(state)
			default:
				return usage("--state %q: want held, redelivering, redelivered, discarded or all", state)
			}
			if f.Limit < 1 {
				return usage("--limit: want a number greater than 0")
			}
			return a.runQuarantineList(c.Context(), f)
		},
	}
	c.Flags().StringVarP(&f.Lane, "lane", "l", "", "only of this destination")
	c.Flags().StringVar(&state, "state", string(catalog.Held), "held, redelivering, redelivered, discarded or all")
	c.Flags().Int64Var(&f.After, "after", 0, "only records with greater IDs, for the next page")
	c.Flags().IntVar(&f.Limit, "limit", 100, "most records")
	return c
}

func (a *app) runQuarantineList(ctx context.Context, f catalog.QuarantineFilter) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	found, err := s.Catalog.Quarantined(ctx, f)
	if err != nil {
		return &failure{exitUnreachable, err}
	}
	if len(found) == 0 && f.Installation != "" {
		if err := s.known(ctx, f.Installation); err != nil {
			return err
		}
	}
	rows := make([]quarantineRow, len(found))
	for i, q := range found {
		rows[i] = quarantined(q)
	}
	return a.print(rows, func(w io.Writer) {
		if len(rows) == 0 {
			fmt.Fprintln(w, "Nothing is in quarantine.")
			return
		}
		t := a.table(">ID", "INSTALLATION", "LANE", "STREAM", "KEY", "STATE", "SINCE", "REASON")
		for _, r := range rows {
			t.Row(r.ID, r.Installation, r.Lane, r.Stream, r.Key, r.State, ago(r.At), r.Reason)
		}
		t.Write(w, "")
		if len(rows) == f.Limit {
			a.note("There may be more: --after %d", rows[len(rows)-1].ID)
		}
	})
}

func (a *app) quarantineShow() *cobra.Command {
	return &cobra.Command{
		Use:   "show ID",
		Short: "Print a record's payload, byte for byte",
		Long:  "show prints the payload of a record in quarantine to stdout, byte for byte, and what is known of it to stderr.",
		Example: `  starter quarantine show 17
  starter quarantine show 17 2>/dev/null | jq .`,
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := recordIDs(args)
			if err != nil {
				return err
			}
			return a.runQuarantineShow(c.Context(), ids[0])
		},
	}
}

// shown is a record in quarantine with its payload, as text: an encoder would change raw JSON.
type shown struct {
	quarantineRow
	Payload string `json:"payload"`
}

func (a *app) runQuarantineShow(ctx context.Context, id int64) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	found, err := s.Catalog.Quarantined(ctx, catalog.QuarantineFilter{IDs: []int64{id}})
	if err != nil {
		return &failure{exitUnreachable, err}
	}
	if len(found) == 0 {
		return fail(exitNotFound, "there is no record %d in quarantine; `starter quarantine list` shows what there is", id)
	}
	q := found[0]
	seg, err := s.Segments.Load(ctx, q.Segment)
	if errors.Is(err, os.ErrNotExist) {
		return fail(exitNotFound, "the payload of record %d is gone: it was %s", id, q.State)
	}
	if err != nil {
		return err
	}
	var r connectors.Record
	for i, one := range seg.Records() {
		if i == q.Index {
			r = one
		}
	}
	if a.json() {
		return writeJSON(a.out, shown{quarantined(q), string(r.Data)})
	}
	a.note("record %d of %s for %s: stream %s, key %q, ID %s\n%s (%s)", q.ID, q.Installation, q.Lane, q.Stream, q.Key, q.RecordID, q.Reason, q.Kind)
	_, err = a.out.Write(r.Data)
	return err
}

func recordIDs(args []string) ([]int64, error) {
	ids := make([]int64, len(args))
	for i, s := range args {
		id, err := strconv.ParseInt(s, 10, 64)
		if err != nil || id < 1 {
			return nil, usage("%q is no record's ID: want a number from `starter quarantine list`", s)
		}
		ids[i] = id
	}
	return ids, nil
}

func (a *app) quarantineRedeliver() *cobra.Command {
	var o operation
	var lane string
	var all bool
	c := &cobra.Command{
		Use:   "redeliver INSTALLATION --lane LANE (ID... | --all)",
		Short: "Send records to their destination again",
		Long: `redeliver puts records of one destination back into its queue, after what is waiting there. What the destination refuses again comes
back to quarantine. Filter and map are those of the revision that runs now.`,
		Example: `  starter quarantine redeliver customers/ada --lane endpoint 17 18
  starter quarantine redeliver customers/ada --lane endpoint --all --wait`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := recordIDs(args[1:])
			switch {
			case err != nil:
				return err
			case lane == "":
				return usage("--lane is missing: to which destination?")
			case all == (len(ids) > 0):
				return usage("give the records' IDs, or --all")
			}
			if len(ids) > 0 && o.id == "" { // a repeated operation is recognised by its ID: its records are held no more
				o.check = func(ctx context.Context, s *session) error { return s.allHeld(ctx, args[0], lane, ids) }
			}
			return a.steer(c.Context(), args[0], workflows.RedeliverUpdate, o, workflows.RedeliverRequest{Lane: lane, IDs: ids}, "redelivering to "+lane)
		},
	}
	c.Flags().StringVarP(&lane, "lane", "l", "", "the destination (required)")
	c.Flags().BoolVar(&all, "all", false, "all that are held for it")
	o.flags(c)
	return c
}

// allHeld refuses records that are not held for the destination: nothing would be delivered, and nothing would say so.
func (s *session) allHeld(ctx context.Context, id, lane string, ids []int64) error {
	found, err := s.Catalog.Quarantined(ctx, catalog.QuarantineFilter{Installation: id, Lane: lane, State: catalog.Held, IDs: ids, Limit: len(ids)})
	if err != nil {
		return &failure{exitUnreachable, err}
	}
	var wrong []string
	for _, one := range ids {
		if !slices.ContainsFunc(found, func(q catalog.Quarantined) bool { return q.ID == one }) {
			wrong = append(wrong, strconv.FormatInt(one, 10))
		}
	}
	if len(wrong) > 0 {
		return fail(exitNotFound, "not held in quarantine for destination %s of %s: %s; nothing is redelivered; `starter quarantine list %s` shows what is held",
			lane, id, strings.Join(wrong, ", "), id)
	}
	return nil
}

// known says where nothing is in quarantine for an installation that it is because there never was such an installation.
func (s *session) known(ctx context.Context, id string) error {
	_, err := s.Catalog.Installation(ctx, id)
	if errors.Is(err, catalog.ErrNotFound) {
		return fail(exitNotFound, "there is no installation %s, nor was there one; `starter list --all` shows them", id)
	}
	return err
}

func (a *app) quarantineDiscard() *cobra.Command {
	var lane string
	var all, yes bool
	c := &cobra.Command{
		Use:   "discard INSTALLATION (ID... | --all [--lane LANE])",
		Short: "Give records up for good",
		Long: `discard gives records in quarantine up: they are never delivered. The list keeps what they were and why; their payloads are deleted
when no other record in quarantine shares their file.`,
		Example: `  starter quarantine discard customers/ada 17 18
  starter quarantine discard customers/ada --all --lane endpoint --yes`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeInstallations,
		RunE: func(c *cobra.Command, args []string) error {
			ids, err := recordIDs(args[1:])
			switch {
			case err != nil:
				return err
			case all == (len(ids) > 0):
				return usage("give the records' IDs, or --all")
			case all && !yes:
				return usage("--all gives up everything that is held: add --yes if that is meant")
			}
			return a.runDiscard(c.Context(), catalog.QuarantineFilter{Installation: args[0], Lane: lane, IDs: ids, State: catalog.Held})
		},
	}
	c.Flags().StringVarP(&lane, "lane", "l", "", "only of this destination")
	c.Flags().BoolVar(&all, "all", false, "all that are held")
	c.Flags().BoolVarP(&yes, "yes", "y", false, "with --all: it is meant")
	return c
}

// discarded is the result of discard.
type discarded struct {
	Discarded int `json:"discarded"`
	// Deleted counts files of payloads.
	Deleted int `json:"deleted"`
}

const quarantinePage = 1000

func (a *app) runDiscard(ctx context.Context, f catalog.QuarantineFilter) error {
	s, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	f.Limit = quarantinePage
	var out discarded
	type place struct{ epoch, lane, segment string }
	touched := make(map[place]bool)
	for {
		page, err := s.Catalog.Quarantined(ctx, f)
		if err != nil {
			return &failure{exitUnreachable, err}
		}
		if len(page) == 0 {
			break
		}
		ids := make([]int64, len(page))
		for i, q := range page {
			ids[i] = q.ID
			touched[place{q.Epoch, q.Lane, q.Segment}] = true
		}
		if err := s.Catalog.SetQuarantineState(ctx, ids, catalog.Discarded); err != nil {
			return err
		}
		out.Discarded += len(ids)
		f.After = ids[len(ids)-1]
	}
	if n := len(f.IDs); n > out.Discarded && out.Discarded == 0 {
		return fail(exitNotFound, "none of these records is held in quarantine for %s", f.Installation)
	}
	if out.Discarded == 0 {
		if err := s.known(ctx, f.Installation); err != nil {
			return err
		}
	}
	for p := range touched {
		needed, err := s.stillNeeded(ctx, p.epoch, p.lane, p.segment)
		if err != nil {
			return err
		}
		if needed {
			continue
		}
		if err := s.Segments.Delete(ctx, p.segment); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		out.Deleted++
	}
	return a.print(out, func(w io.Writer) {
		fmt.Fprintf(w, "Discarded %s %s.\n", terminal.Count(out.Discarded), plural(out.Discarded, "record"))
		if n := len(f.IDs) - out.Discarded; n > 0 {
			fmt.Fprintf(w, "%d of those named were not held and stay as they are.\n", n)
		}
	})
}

// stillNeeded says that a segment has a record that may yet be delivered.
func (s *session) stillNeeded(ctx context.Context, epoch, lane, segment string) (bool, error) {
	for _, state := range []catalog.QuarantineState{catalog.Held, catalog.Redelivering} {
		f := catalog.QuarantineFilter{Epoch: epoch, Lane: lane, State: state, Limit: quarantinePage}
		for {
			page, err := s.Catalog.Quarantined(ctx, f)
			if err != nil {
				return false, err
			}
			for _, q := range page {
				if q.Segment == segment {
					return true, nil
				}
			}
			if len(page) < quarantinePage {
				break
			}
			f.After = page[len(page)-1].ID
		}
	}
	return false, nil
}
