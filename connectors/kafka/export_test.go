package kafka

import (
	"net"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ClientOptions are those of a connection, for tests that read past the destination.
func ClientOptions(c Connection, allowed []*net.IPNet) ([]kgo.Opt, error) {
	return c.options(allowed, 10*time.Second)
}
