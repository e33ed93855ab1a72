package terminal

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/term"
)

// IsTerminal reports whether a stream is a terminal; one of TERM=dumb can't move its cursor and counts as none.
func IsTerminal(stream any, getenv func(string) string) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd())) && getenv("TERM") != "dumb"
}

// Width is that of the terminal behind a stream, 0 where there is none.
func Width(stream any) int {
	if f, ok := stream.(*os.File); ok {
		if w, _, err := term.GetSize(int(f.Fd())); err == nil {
			return w
		}
	}
	return 0
}

// Block is a few lines at the end of a terminal that are written over again and again. Safe for concurrent use.
type Block struct {
	// Out is a terminal.
	Out io.Writer

	mu    sync.Mutex
	lines int
	last  string
}

// Show replaces the block. Lines wider than the terminal are cut: a wrapped one could not be gone back over.
func (b *Block) Show(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.last = text
	b.draw()
}

// Above writes lines that stay, above the block.
func (b *Block) Above(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.clear()
	fmt.Fprint(b.Out, text)
	b.draw()
}

// End leaves the block as it is; what follows is written below it.
func (b *Block) End() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.lines, b.last = 0, ""
}

func (b *Block) draw() {
	if b.last == "" {
		return
	}
	width := Width(b.Out)
	var out strings.Builder
	if b.lines > 0 {
		fmt.Fprintf(&out, "\x1b[%dA", b.lines)
	}
	lines := strings.Split(strings.TrimRight(b.last, "\n"), "\n")
	for _, l := range lines {
		if width > 1 {
			l = Cut(l, width-1)
		}
		out.WriteString("\r" + l + "\x1b[K\n")
	}
	out.WriteString("\x1b[J")
	fmt.Fprint(b.Out, out.String())
	b.lines = len(lines)
}

func (b *Block) clear() {
	if b.lines > 0 {
		fmt.Fprintf(b.Out, "\x1b[%dA\r\x1b[J", b.lines)
		b.lines = 0
	}
}
