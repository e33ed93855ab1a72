package workflows

import (
	"maps"
	"slices"
	"time"
)

// Journal is the index up to which arrivals of a journal have been taken.
type Journal struct {
	ID string `json:"j"`
	To uint64 `json:"t"`
}

// maxJournals is how many journals are remembered (I10). Receivers are replaced, and their journals never say that they
// are over; so the one that nothing came from for longest is forgotten. Only if that many others brought something
// since, and it then repeats what was taken, is that taken twice; destinations still know the records by their identity (I3).
const maxJournals = 128

// pass takes note that a journal's arrivals up to an index are taken; false = they were taken before.
func (s *State) pass(id string, to uint64) bool {
	at := slices.IndexFunc(s.Journals, func(j Journal) bool { return j.ID == id })
	var from uint64 // where its next arrival was going to begin; 0 = nothing was known of it
	if at >= 0 {
		if to <= s.Journals[at].To {
			return false
		}
		from = s.Journals[at].To + 1
		s.Journals = slices.Delete(s.Journals, at, at+1)
	}
	s.Journals = append(s.Journals, Journal{ID: id, To: to})
	if n := len(s.Floors); n > 0 {
		f := &s.Floors[n-1]
		if f.Moved == nil {
			f.Moved = make(map[string]uint64)
		}
		if _, moved := f.Moved[id]; !moved {
			f.Moved[id] = from
		}
	}
	if len(s.Journals) > maxJournals {
		for _, f := range s.Floors {
			delete(f.Moved, s.Journals[0].ID)
		}
		s.Journals = slices.Delete(s.Journals, 0, 1)
	}
	return true
}

// Floor is where the journals stood when a poll began. Streams share it, and it holds only what it takes to tell: Moved has,
// for each journal that moved between this floor and the next, the first index after it. One that did not move
// stands in a later floor, or where it stands now.
type Floor struct {
	// ID is the chunk that the poll began with.
	ID    uint64            `json:"id"`
	At    time.Time         `json:"at"`
	Moved map[string]uint64 `json:"moved,omitempty"`
}

// maxFloors is how many floors are kept (I10): where streams need more, they make do with an earlier one, and look at more.
const maxFloors = 6

// addFloor notes where the journals stand and returns the floor's ID: the last one's where that is no older than near.
func (s *State) addFloor(id uint64, now time.Time, near time.Duration) uint64 {
	if n := len(s.Floors); n > 0 {
		if age := now.Sub(s.Floors[n-1].At); age >= 0 && age < near {
			return s.Floors[n-1].ID
		}
	}
	s.Floors = append(s.Floors, Floor{ID: id, At: now})
	return id
}

// dropFloors forgets the floors that no stream needs, and of more than maxFloors those that follow closest on another.
func (s *State) dropFloors() {
	oldest := s.floor()
	for len(s.Floors) > 1 && s.Floors[1].ID <= oldest {
		s.Floors = slices.Delete(s.Floors, 0, 1)
	}
	needed := func(id uint64) bool {
		return slices.ContainsFunc(s.Streams, func(t *Stream) bool { return t.From == id || t.Then == id })
	}
	for i := 1; i < len(s.Floors); i++ {
		if !needed(s.Floors[i].ID) {
			s.mergeFloor(i)
			i--
		}
	}
	for len(s.Floors) > maxFloors {
		at, least := 1, time.Duration(-1)
		for i := 1; i < len(s.Floors); i++ {
			if gap := s.Floors[i].At.Sub(s.Floors[i-1].At); least < 0 || gap < least {
				at, least = i, gap
			}
		}
		s.mergeFloor(at)
	}
}

// mergeFloor drops a floor into the one before it, which stands for it from then on.
func (s *State) mergeFloor(i int) {
	merged := make(map[string]uint64, len(s.Floors[i].Moved))
	//workflowcheck:ignore (a copy: order is nothing)
	maps.Copy(merged, s.Floors[i].Moved)
	//workflowcheck:ignore (a copy: order is nothing)
	maps.Copy(merged, s.Floors[i-1].Moved)
	s.Floors[i-1].Moved = merged
	for _, t := range s.Streams {
		for _, id := range []*uint64{&t.From, &t.Then} {
			if *id == s.Floors[i].ID {
				*id = s.Floors[i-1].ID
			}
		}
	}
	s.Floors = slices.Delete(s.Floors, i, i+1)
}

// floor is the earliest that any stream needs.
func (s *State) floor() uint64 {
	var least uint64
	for i, t := range s.Streams {
		if i == 0 || t.From < least {
			least = t.From
		}
	}
	return least
}

// since is, per journal, the first index after a floor; 0 where that is not known, and everything may be.
func (s *State) since(floor uint64) map[string]uint64 {
	m := make(map[string]uint64, len(s.Journals))
	at := -1
	for i, f := range s.Floors {
		if f.ID <= floor {
			at = i
		}
	}
	for _, j := range s.Journals {
		if m[j.ID] = 0; floor == 0 || at < 0 {
			continue
		}
		m[j.ID] = j.To + 1
		for _, f := range s.Floors[at:] {
			if from, moved := f.Moved[j.ID]; moved {
				m[j.ID] = from
				break
			}
		}
	}
	return m
}
