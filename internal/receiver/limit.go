package receiver

import (
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Limits bounds what senders can make the receiver do.
type Limits struct {
	// BodyBytes is the largest body accepted; a larger one gets 413. 0 = 5 MiB.
	BodyBytes int64
	// HeaderBytes bounds a request's line and headers together, beyond net/http's own slack of 4 KiB; more gets 431. 0 = 64 KiB.
	HeaderBytes int
	// HeaderTime and ReadTime bound how long a sender may take for the headers and for the whole request; a slower one is
	// disconnected. 0 = 10 s and 30 s.
	HeaderTime, ReadTime time.Duration
	// Concurrent is how many requests are worked on at once; one more gets 503. 0 = 1,024.
	Concurrent int
	// Rate and Burst bound the requests a second of all senders together, InstallationRate and InstallationBurst those of
	// one installation or app-wide URL; more gets 429. A rate of 0 = unbounded, a burst of 0 = one second's worth.
	Rate, InstallationRate   float64
	Burst, InstallationBurst int
	// JournalBytes is the size of the journal past which webhooks get 503. It must lie below the journal's own limit: what
	// is between is the forwarder's, which needs room for intents to empty the journal. 0 = 1 GiB.
	JournalBytes int64
	// CacheTime is how long what the catalog and the vault say is believed: a rotated secret, an ended installation
	// and pressure count after this at the latest. 0 = 3 s.
	CacheTime time.Duration
	// StopTime bounds how long requests in flight may take to finish when the server stops. 0 = 15 s.
	StopTime time.Duration
}

func (l Limits) withDefaults() Limits {
	fill(&l.BodyBytes, 5<<20)
	fill(&l.HeaderBytes, 64<<10)
	fill(&l.HeaderTime, 10*time.Second)
	fill(&l.ReadTime, 30*time.Second)
	fill(&l.Concurrent, 1024)
	fill(&l.JournalBytes, 1<<30)
	fill(&l.CacheTime, 3*time.Second)
	fill(&l.StopTime, 15*time.Second)
	fill(&l.Burst, max(1, int(l.Rate)))
	fill(&l.InstallationBurst, max(1, int(l.InstallationRate)))
	return l
}

func fill[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// limiter makes the rate limiters of installations; it forgets all of them when there are too many, which forgives a
// second's worth at most.
type limiter struct {
	rate  rate.Limit
	burst int

	mu sync.Mutex
	by map[string]*rate.Limiter
}

const maxLimiters = 100_000

func newLimiter(perSecond float64, burst int) *limiter {
	return &limiter{rate: rate.Limit(perSecond), burst: burst, by: map[string]*rate.Limiter{}}
}

func (l *limiter) allow(key string) bool {
	if l.rate == 0 {
		return true
	}
	l.mu.Lock()
	one := l.by[key]
	if one == nil {
		if len(l.by) >= maxLimiters {
			clear(l.by)
		}
		one = rate.NewLimiter(l.rate, l.burst)
		l.by[key] = one
	}
	l.mu.Unlock()
	return one.Allow()
}

// buffers are reused; a large one is left to the garbage collector.
var buffers = sync.Pool{New: func() any { return new(make([]byte, 0, 4<<10)) }}

const maxPooled = 256 << 10

func getBuffer() *[]byte { return buffers.Get().(*[]byte) }

func putBuffer(b *[]byte) {
	if cap(*b) <= maxPooled {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// readBody reads the body into b, which grows as bytes arrive and not by what Content-Length promises.
func readBody(r *http.Request, b *[]byte, limit int64) *refusal {
	if r.ContentLength > limit {
		return refuseTooLarge
	}
	body := io.LimitReader(r.Body, limit+1)
	for {
		if len(*b) == cap(*b) {
			*b = append(*b, 0)[:len(*b)]
		}
		n, err := body.Read((*b)[len(*b):cap(*b)])
		*b = (*b)[:len(*b)+n]
		switch {
		case int64(len(*b)) > limit:
			return refuseTooLarge
		case err == io.EOF:
			return nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return refuseSlow
		case err != nil:
			return refuseBroken
		}
	}
}
