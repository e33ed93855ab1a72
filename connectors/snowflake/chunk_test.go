package snowflake

import (
	"bytes"
	"io"
	"math/rand/v2"
	"testing"
)

// What is written in pieces of any size is read as one, from anywhere, as often as it is read.
func TestChunks(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 12_345} {
		want := make([]byte, size)
		for i := range want {
			want[i] = byte(random.Uint32())
		}
		var c chunks
		for rest := want; len(rest) > 0; {
			n := min(len(rest), 1+random.IntN(chunkSize/3))
			if written, err := c.Write(rest[:n]); written != n || err != nil {
				t.Fatalf("wrote %d of %d, %v", written, n, err)
			}
			rest = rest[n:]
		}
		for range 2 {
			got, err := io.ReadAll(c.reader())
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("of %d bytes %d were read, equal %v, %v", size, len(got), bytes.Equal(got, want), err)
			}
		}
		if size > 100 {
			part := make([]byte, 100)
			if n, err := c.ReadAt(part, int64(size-100)); n != 100 || err != nil && err != io.EOF || !bytes.Equal(part, want[size-100:]) {
				t.Errorf("the end of %d bytes: %d, %v", size, n, err)
			}
			if n, err := c.ReadAt(part, int64(size-50)); n != 50 || err != io.EOF {
				t.Errorf("beyond the end of %d bytes: %d, %v", size, n, err)
			}
		}
	}
}
