package receiver

import "time"

// pace slows signals down when Temporal can't keep up with what they set off. A signal is the cheapest part of that: the workflow's
// task, the write and the task after it come behind, and signals sent as fast as they are taken would leave those no room. Temporal being
// busy shows in signals that take longer than they could; then what comes meanwhile goes with the next signal of its installation, so that fewer
// and larger ones carry the same load.
type pace struct {
	// fastest is what the quickest signals take lately.
	fastest time.Duration
}

const (
	// instant is so short for a signal that nothing faster tells anything.
	instant = 5 * time.Millisecond
	// restFactor is how many times what a signal took too long is waited before the next.
	restFactor = 200
	maxPause   = 6 * time.Second
	// look is after how long it is asked whether a pause is still worthwhile.
	look = 100 * time.Millisecond
	// again is the longest in which what waits would have come once more, for it to be a load that makes batches larger by pausing.
	again = time.Minute
)

// pause tells how long the place of a signal that took so long stays empty after it.
func (p *pace) pause(took time.Duration) time.Duration {
	if p.fastest == 0 || took < p.fastest {
		p.fastest = max(took, instant)
	} else {
		p.fastest += p.fastest / 4096 // forgets, slowly, what no longer can be reached
	}
	return min(max(took-2*p.fastest, 0)*restFactor, maxPause)
}

// worthwhile says that the load goes on that pauses are for: as much comes, in bytes within a time, as would notably enlarge what waits. When
// a load ends, what it left is handed over as fast as that goes.
func worthwhile(came int64, within time.Duration, waiting int64) bool {
	return float64(came)*again.Seconds() > float64(waiting)*within.Seconds()
}
