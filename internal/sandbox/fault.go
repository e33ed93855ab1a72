package sandbox

import (
	"net/http"
	"time"
)

// Faults spoil the answers to queries, each with its probability from 0 to 1.
type Faults struct {
	ServerError float64 // 500 without a body
	Stall       float64 // no answer for StallFor, or until the caller goes away
	Throttle    float64 // THROTTLED, whatever is left in the bucket
	Truncate    float64 // the first half of the answer, then the connection is cut
	StallFor    time.Duration
}

// SetFaults spoils answers from now on; the zero Faults ends it.
func (s *Shop) SetFaults(f Faults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

func (s *Shop) draw(p func(Faults) float64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	chance := p(s.faults)
	return chance > 0 && s.rng.Float64() < chance
}

// spoil answers itself and returns nil, or returns the writer to go on with.
func (s *Shop) spoil(w http.ResponseWriter, r *http.Request) http.ResponseWriter {
	if s.draw(func(f Faults) float64 { return f.ServerError }) {
		w.WriteHeader(http.StatusInternalServerError)
		return nil
	}
	if s.draw(func(f Faults) float64 { return f.Stall }) {
		s.mu.Lock()
		wait := s.faults.StallFor
		s.mu.Unlock()
		select {
		case <-r.Context().Done():
			return nil
		case <-time.After(wait):
		}
	}
	if s.draw(func(f Faults) float64 { return f.Truncate }) {
		return &cutter{ResponseWriter: w}
	}
	return w
}

// cutter sends the first half of what is written and breaks the connection.
type cutter struct{ http.ResponseWriter }

func (c *cutter) Write(p []byte) (int, error) {
	_, _ = c.ResponseWriter.Write(p[:len(p)/2])
	if f, ok := c.ResponseWriter.(http.Flusher); ok {
		f.Flush()
	}
	panic(http.ErrAbortHandler) // net/http's way to cut a connection
}
