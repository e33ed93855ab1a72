package snowflake

import "io"

// chunks is what a file holds, in pieces that are never moved: a buffer that grows would for a moment hold it twice and more.
type chunks struct {
	list [][]byte
	size int64
}

const chunkSize = 1 << 20

// Write appends. It never fails.
func (c *chunks) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		at := int(c.size % chunkSize)
		if at == 0 {
			c.list = append(c.list, make([]byte, chunkSize))
		}
		copied := copy(c.list[len(c.list)-1][at:], p)
		c.size, p = c.size+int64(copied), p[copied:]
	}
	return n, nil
}

// ReadAt is that of io.ReaderAt.
func (c *chunks) ReadAt(p []byte, offset int64) (n int, err error) {
	for n < len(p) {
		at := offset + int64(n)
		if at >= c.size {
			return n, io.EOF
		}
		chunk := c.list[at/chunkSize]
		end := min(chunkSize, c.size-at/chunkSize*chunkSize)
		n += copy(p[n:], chunk[at%chunkSize:end])
	}
	return n, nil
}

// reader reads it from the beginning.
func (c *chunks) reader() *io.SectionReader { return io.NewSectionReader(c, 0, c.size) }
