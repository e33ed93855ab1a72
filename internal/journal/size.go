package journal

import "sort"

// markBytes apart, the ledger knows exactly; between, it assumes entries of equal length.
const markBytes = 1 << 20

// ledger knows about how many bytes the entries of a range take, in 16 bytes of memory a megabyte.
type ledger struct {
	marks []mark // ascending; never empty after start
}

// mark says that the entries below index take bytes, counted from where the ledger began.
type mark struct {
	index uint64
	bytes int64
}

func (l *ledger) start(index uint64) { l.marks = []mark{{index: index}} }

// add says that the entries from the last ones added up to next take bytes.
func (l *ledger) add(next uint64, bytes int64) {
	last := len(l.marks) - 1
	total := l.marks[last].bytes + bytes
	if last > 0 && total-l.marks[last-1].bytes <= markBytes {
		l.marks[last] = mark{next, total}
		return
	}
	l.marks = append(l.marks, mark{next, total})
}

// before is about how many bytes the entries below index take, counted from where the ledger began.
func (l *ledger) before(index uint64) int64 {
	i := sort.Search(len(l.marks), func(i int) bool { return l.marks[i].index >= index })
	if i == len(l.marks) {
		return l.marks[i-1].bytes
	}
	if i == 0 || l.marks[i].index == index {
		return l.marks[i].bytes
	}
	a, b := l.marks[i-1], l.marks[i]
	return a.bytes + int64(float64(b.bytes-a.bytes)*float64(index-a.index)/float64(b.index-a.index))
}

// dropBefore forgets marks that only ranges below index need.
func (l *ledger) dropBefore(index uint64) {
	i := sort.Search(len(l.marks), func(i int) bool { return l.marks[i].index > index })
	if i > 1 {
		l.marks = append([]mark(nil), l.marks[i-1:]...)
	}
}
