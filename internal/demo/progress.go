package demo

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"tributary/internal/sandbox"
	"tributary/internal/terminal"
	"tributary/workflows"
)

// story tells what happens: on a terminal above a block that refreshes, elsewhere in plain lines.
type story struct {
	out   io.Writer
	block *terminal.Block
}

// tell writes lines that stay.
func (s *story) tell(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	if s.block != nil {
		s.block.Above(text)
		return
	}
	fmt.Fprint(s.out, text)
}

// progress is what the demo shows while it runs.
type progress struct {
	mu     sync.Mutex
	began  time.Time
	worker string
	ledger struct{ sent, acknowledged int }
	// last holds the latest status of each installation, in the order in which they were installed.
	last   []workflows.Status
	silent bool // nobody answered the latest questions
}

// count reads the shop's ledger.
func (p *progress) count(shop *sandbox.Shop) {
	var sent, acknowledged int
	for _, d := range shop.Ledger() {
		sent++
		if d.State == sandbox.Acknowledged {
			acknowledged++
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ledger.sent, p.ledger.acknowledged = sent, acknowledged
}

func (p *progress) set(worker string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.worker = worker
}

func (p *progress) take(all []workflows.Status, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if ok {
		p.last = all
	}
	p.silent = !ok
}

// table is the block for a terminal.
func (p *progress) table(width int) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%5s  sandbox shop: %s webhooks sent, %s acknowledged    worker: %s\n", p.elapsed(),
		terminal.Count(p.ledger.sent), terminal.Count(p.ledger.acknowledged), p.worker)
	t := terminal.NewTable("INSTALLATION", ">RECEIVED", "DESTINATION", ">DELIVERED", ">LAG", ">QUARANTINED")
	t.Width = width
	for _, s := range p.last {
		id, received := s.Installation, terminal.Count(s.Received)
		for _, l := range s.Lanes {
			t.Row(id, received, l.Name, terminal.Count(l.Delivered), terminal.Count(l.Lag), terminal.Count(l.Quarantined))
			id, received = "", ""
		}
	}
	t.Write(&b, "       ")
	return b.String()
}

// line is the same for a log.
func (p *progress) line() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	parts := []string{fmt.Sprintf("%5s  shop sent %d, acknowledged %d", p.elapsed(), p.ledger.sent, p.ledger.acknowledged)}
	for _, s := range p.last {
		parts = append(parts, fmt.Sprintf("%s received %d delivered %d lag %d quarantined %d", s.Installation, s.Received, s.Delivered, s.Lag, s.Quarantined))
	}
	return strings.Join(append(parts, "worker "+p.worker), " | ")
}

func (p *progress) elapsed() string { return fmt.Sprintf("%ds", int(time.Since(p.began).Seconds())) }
