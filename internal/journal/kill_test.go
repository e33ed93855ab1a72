package journal

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"sync"
	"testing"
)

// childDir is the variable that turns this test binary into a process that appends until it is killed.
const childDir = "TRIBUTARY_JOURNAL_TEST_DIR"

// appendUntilKilled reports every index whose append has returned, and truncates now and then.
func appendUntilKilled(dir string) {
	j, err := Open(dir, small)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	var out sync.Mutex
	for range 4 {
		go func() {
			for n := 0; ; n++ {
				index, err := j.Append(context.Background(), randomEntry(rand.Uint64()))
				if err != nil {
					fmt.Println(err)
					os.Exit(1)
				}
				out.Lock()
				fmt.Printf("acknowledged %d\n", index)
				out.Unlock()
				if n%50 == 49 && index > 200 {
					if err := j.TruncateBefore(index - 200); err != nil {
						fmt.Println(err)
						os.Exit(1)
					}
				}
			}
		}()
	}
	select {}
}

// randomEntry is the text of its seed, and as much more as the seed says.
func randomEntry(seed uint64) []byte {
	b := fmt.Appendf(nil, "%020d", seed)
	return append(b, make([]byte, seed%700)...)
}

// However often the process is killed while it writes, every acknowledged entry is there, whole, and under
// its index; and the next process goes on.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	last := uint64(0)
	for range 20 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		stdout, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines, killAfter := 0, 20+rand.IntN(300)
		for scan := bufio.NewScanner(stdout); scan.Scan(); lines++ {
			var index uint64
			if _, err := fmt.Sscanf(scan.Text(), "acknowledged %d", &index); err != nil {
				t.Errorf("child: %s", scan.Text())
			}
			last = max(last, index)
			if lines == killAfter {
				if err := child.Process.Kill(); err != nil {
					t.Error(err)
				}
			}
		}
		_ = child.Wait() // killed: always an error
		if lines < killAfter {
			t.Fatalf("the child ended by itself after %d of %d", lines, killAfter)
		}

		j := start(t, dir, small)
		first, next := j.Bounds()
		if next <= last {
			t.Fatalf("next = %d, and %d was acknowledged", next, last)
		}
		entries, err := j.Read(first, 1<<30)
		if err != nil || uint64(len(entries)) != next-first {
			t.Fatalf("%d entries in [%d, %d), %v", len(entries), first, next, err)
		}
		for _, e := range entries {
			var seed uint64
			if _, err := fmt.Sscanf(string(e.Data[:20]), "%d", &seed); err != nil || string(randomEntry(seed)) != string(e.Data) {
				t.Fatalf("entry %d is not what was appended: %.30q", e.Index, e.Data)
			}
		}
		stop(t, j)
	}
}
