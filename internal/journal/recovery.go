package journal

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/raft-wal/metadb"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"
)

// metadata is raft-wal's list of files. Loading it brings the last file, which a crash may have caught
// in the middle of anything, into a state from which raft-wal goes on.
type metadata struct {
	metadb.BoltMetaDB
	files        disk
	filer        types.SegmentFiler
	segmentBytes int
	held         []fileExtent // set by Load
}

var _ types.MetaStore = (*metadata)(nil)

// fileExtent says that the groups of a file, those below next that no file before it has, take bytes.
type fileExtent struct {
	next  uint64
	bytes int64
}

// extentOf counts of a file that ends with the group last the share that isn't deleted.
func extentOf(s types.SegmentInfo, last uint64, bytes int64) fileExtent {
	kept := float64(last+1-s.MinIndex) / float64(last+1-s.BaseIndex)
	return fileExtent{last + 1, int64(float64(bytes) * kept)}
}

// Sizes in raft-wal's format: https://github.com/hashicorp/raft-wal/blob/main/README.md#file-format
const frameHeaderBytes = 8

func frameBytes(payload int) int64 { return frameHeaderBytes + int64(payload+7)&^7 }

// Load is called by raft-wal before it opens any file.
func (m *metadata) Load(dir string) (types.PersistentState, error) {
	s, err := m.BoltMetaDB.Load(dir)
	if err != nil || len(s.Segments) == 0 {
		return s, err
	}
	tail := &s.Segments[len(s.Segments)-1]
	for _, sealed := range s.Segments[:len(s.Segments)-1] {
		m.held = append(m.held, extentOf(sealed, sealed.MaxIndex, int64(sealed.IndexStart)))
	}
	w, err := m.filer.RecoverTail(*tail)
	if errors.Is(err, os.ErrNotExist) {
		return s, nil // the crash was before the file was made; raft-wal makes it
	}
	if err != nil {
		return s, err
	}
	defer w.Close()
	last := w.LastIndex()
	end, err := endOfEntries(w, last)
	if err != nil {
		return s, fmt.Errorf("%s: %w", segment.FileName(*tail), err)
	}
	if last > 0 {
		m.held = append(m.held, extentOf(*tail, last, end))
	}

	sealed, indexStart, err := w.Sealed()
	if err != nil {
		return s, err
	}
	if sealed && last > 0 && indexStart == uint64(end)+frameHeaderBytes {
		// The crash came between filling the file and starting the next. raft-wal would refuse every
		// append to it; it expects this to be done already.
		tail.SealTime = time.Now()
		tail.MaxIndex = last
		tail.IndexStart = indexStart
		s.Segments = append(s.Segments, types.SegmentInfo{
			ID:         s.NextSegmentID,
			BaseIndex:  last + 1,
			MinIndex:   last + 1,
			Codec:      tail.Codec,
			CreateTime: time.Now(),
			SizeLimit:  uint32(m.segmentBytes),
		})
		s.NextSegmentID++
		return s, m.CommitState(s)
	}

	// What is behind the last whole batch was never acknowledged. It must go: raft-wal takes an index
	// in it for the file's, and once it is half overwritten, its rest for entries.
	if last > 0 {
		end += frameHeaderBytes // of the batch's commit
	}
	return s, m.cut(dir, segment.FileName(*tail), end)
}

// endOfEntries is the offset behind the last entry, 0 when there is none.
func endOfEntries(w types.SegmentWriter, last uint64) (int64, error) {
	if last == 0 {
		return 0, nil
	}
	frames, ok := w.(interface {
		OffsetForFrame(index uint64) (uint32, error)
	})
	if !ok {
		return 0, errors.ErrUnsupported
	}
	offset, err := frames.OffsetForFrame(last)
	if err != nil {
		return 0, err
	}
	payload, err := w.GetLog(last)
	if err != nil {
		return 0, err
	}
	defer payload.Close()
	return int64(offset) + frameBytes(len(payload.Bs)), nil
}

// cut shortens a file. The first sync of what is written to it then makes that durable too.
func (m *metadata) cut(dir, name string, size int64) error {
	f, err := m.files.OpenWriter(dir, name)
	if err != nil {
		return err
	}
	return errors.Join(f.(*file).cut(size), f.Close())
}
