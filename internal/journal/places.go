package journal

import "sort"

// markBytes apart at least, places knows exactly; between, it assumes entries of equal length.
const markBytes = 1 << 20

// places knows where entries are: in about which group, and behind how many bytes. It takes 24 bytes of
// memory a megabyte.
type places struct {
	marks []mark // ascending; never empty after start
}

// mark says that the entry index is the first of a group, and that entries of bytes are before it, counted
// from the first mark ever.
type mark struct {
	index uint64
	group uint64
	bytes int64
}

func (p *places) start(index, group uint64) { p.marks = []mark{{index: index, group: group}} }

// add says that what follows the last ones added is bytes long, and that behind it, index is the first
// entry of group.
func (p *places) add(index, group uint64, bytes int64) {
	last := len(p.marks) - 1
	m := mark{index, group, p.marks[last].bytes + bytes}
	if last > 0 && m.bytes-p.marks[last-1].bytes <= markBytes {
		p.marks[last] = m
		return
	}
	p.marks = append(p.marks, m)
}

// after is the number of the first mark beyond index.
func (p *places) after(index uint64) int {
	return sort.Search(len(p.marks), func(i int) bool { return p.marks[i].index > index })
}

// before is about how many bytes the entries below index take, counted from the first mark ever.
func (p *places) before(index uint64) int64 {
	i := p.after(index)
	if i == 0 {
		return p.marks[0].bytes
	}
	a := p.marks[i-1]
	if i == len(p.marks) {
		return a.bytes
	}
	b := p.marks[i]
	return a.bytes + int64(float64(b.bytes-a.bytes)*float64(index-a.index)/float64(b.index-a.index))
}

// groups bounds the group that holds the entry index: it is in [from, to).
func (p *places) groups(index uint64) (from, to uint64) {
	i := min(max(p.after(index), 1), len(p.marks)-1)
	return p.marks[max(i-1, 0)].group, p.marks[i].group
}

// dropBefore forgets marks that only entries below index need.
func (p *places) dropBefore(index uint64) {
	if i := p.after(index); i > 1 {
		p.marks = append([]mark(nil), p.marks[i-1:]...)
	}
}
