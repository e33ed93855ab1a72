package kafka

import (
	"maps"
	"net"
	"slices"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Codes are those that the tables of errors have.
func Codes() []*kerr.Error {
	return slices.AppendSeq(slices.Collect(maps.Keys(kinds)), maps.Keys(refusals))
}

// ClientOptions are those of a connection, for tests that read past the destination.
func ClientOptions(c Connection, allowed []*net.IPNet) ([]kgo.Opt, error) {
	return c.options(allowed, 10*time.Second)
}
