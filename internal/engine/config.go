// Package engine puts the parts together: configuration, Temporal client, worker and receiver. The worker and the starter
// call it.
package engine

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Config says where everything is. Temporal's own settings are not here: they are the standard ones of every Temporal
// program (TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, TEMPORAL_API_KEY, TEMPORAL_TLS_..., TEMPORAL_PROFILE).
type Config struct {
	// Dir holds local state: TRIBUTARY_DIR, default .tributary.
	Dir string
	// Catalog is a SQLite file or a postgres:// DSN: TRIBUTARY_CATALOG, default <dir>/catalog.db.
	Catalog string
	// Segments is a file://, s3:// or gs:// URL: TRIBUTARY_SEGMENTS, default file in <dir>/segments.
	Segments string
	// Journal is the receiver's own directory, on a volume of its own: TRIBUTARY_JOURNAL, default <dir>/journal.
	Journal string
	// JournalBytes bounds the journal: TRIBUTARY_JOURNAL_BYTES, default 4 GiB. Past half of it the receiver answers 503; the rest is
	// for what the forwarder has yet to note there.
	JournalBytes int64
	// KeyFile encrypts connections: TRIBUTARY_KEY_FILE, required but in dev.
	KeyFile string
	// PublicURL is how apps reach the receiver: TRIBUTARY_PUBLIC_URL, default http://<listen>.
	PublicURL string
	// Listen is the receiver's public address: TRIBUTARY_LISTEN, default 127.0.0.1:8080.
	Listen string
	// OpsListen serves health, readiness and metrics: TRIBUTARY_OPS_LISTEN, default 127.0.0.1:9090.
	OpsListen string
	// AllowNetworks are networks inside the operator's own that URLs given in blocks may lead to, such as
	// "10.1.0.0/16,127.0.0.1/32": TRIBUTARY_ALLOW_NETWORKS, default none.
	AllowNetworks []*net.IPNet
	// StickyWorkflows caps how many workflows a worker keeps in memory: TRIBUTARY_STICKY_WORKFLOWS, default 2,000.
	StickyWorkflows int
	// Deployment and BuildID turn on Temporal's worker versioning, auto-upgrading: TRIBUTARY_DEPLOYMENT, TRIBUTARY_BUILD_ID.
	Deployment, BuildID string
	// TaskQueue is changed by tests only.
	TaskQueue string
}

const (
	defaultListen    = "127.0.0.1:8080"
	defaultOpsListen = "127.0.0.1:9090"
)

// Load reads the configuration from the environment and reports all problems at once.
func Load(getenv func(string) string) (Config, error) {
	var problems []error
	c := Config{
		Dir: or(getenv("TRIBUTARY_DIR"), ".tributary"), Catalog: getenv("TRIBUTARY_CATALOG"), Segments: getenv("TRIBUTARY_SEGMENTS"),
		Journal: getenv("TRIBUTARY_JOURNAL"), KeyFile: getenv("TRIBUTARY_KEY_FILE"), PublicURL: strings.TrimRight(getenv("TRIBUTARY_PUBLIC_URL"), "/"),
		Listen: or(getenv("TRIBUTARY_LISTEN"), defaultListen), OpsListen: or(getenv("TRIBUTARY_OPS_LISTEN"), defaultOpsListen),
		Deployment: getenv("TRIBUTARY_DEPLOYMENT"), BuildID: getenv("TRIBUTARY_BUILD_ID"),
		JournalBytes: 4 << 30, StickyWorkflows: 2000,
	}
	number := func(name string, into *int64) {
		if s := getenv(name); s != "" {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n <= 0 {
				problems = append(problems, fmt.Errorf("%s: want a number greater than 0", name))
				return
			}
			*into = n
		}
	}
	number("TRIBUTARY_JOURNAL_BYTES", &c.JournalBytes)
	sticky := int64(c.StickyWorkflows)
	number("TRIBUTARY_STICKY_WORKFLOWS", &sticky)
	c.StickyWorkflows = int(sticky)
	for _, s := range strings.FieldsFunc(getenv("TRIBUTARY_ALLOW_NETWORKS"), func(r rune) bool { return r == ',' || r == ' ' }) {
		_, n, err := net.ParseCIDR(s)
		if err != nil {
			problems = append(problems, fmt.Errorf("TRIBUTARY_ALLOW_NETWORKS: %q is no network such as 10.1.0.0/16", s))
			continue
		}
		c.AllowNetworks = append(c.AllowNetworks, n)
	}
	if (c.Deployment == "") != (c.BuildID == "") {
		problems = append(problems, errors.New("TRIBUTARY_DEPLOYMENT and TRIBUTARY_BUILD_ID go together"))
	}
	if err := c.complete(); err != nil {
		problems = append(problems, err)
	}
	return c, errors.Join(problems...)
}

// complete fills in what follows from the directory.
func (c *Config) complete() error {
	dir, err := filepath.Abs(c.Dir)
	if err != nil {
		return fmt.Errorf("TRIBUTARY_DIR: %w", err)
	}
	c.Dir = dir
	c.Catalog = or(c.Catalog, filepath.Join(dir, "catalog.db"))
	c.Segments = or(c.Segments, "file://"+filepath.ToSlash(filepath.Join(dir, "segments")))
	c.Journal = or(c.Journal, filepath.Join(dir, "journal"))
	c.PublicURL = or(c.PublicURL, "http://"+c.Listen)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("TRIBUTARY_DIR: %w", err)
	}
	return nil
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// DevNetworks are those that dev and demo allow, so that a local server or a tunnel works for trying out.
func DevNetworks() []*net.IPNet {
	var out []*net.IPNet
	for _, s := range []string{"127.0.0.0/8", "::1/128"} {
		_, n, _ := net.ParseCIDR(s)
		out = append(out, n)
	}
	return out
}
