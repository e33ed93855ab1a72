package segment

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Origins with a meaning of their own. Every other origin is a journal's ID, with Sequence = the first
// journal index in the segment.
const (
	OriginPoll       = "poll"       // Sequence = chunk number, Suffix = random for each attempt
	OriginQuarantine = "quarantine" // never swept: it goes when its last record is discarded
	OriginManifest   = "manifest"   // old references rolled out of a workflow's state
	OriginOverlap    = "overlap"    // hashes of what an overlapping poll has seen
)

// Name says where an object belongs. Its text, epoch/stream/origin-sequence[-suffix], sorts by sequence
// within an origin.
type Name struct {
	Epoch    string // letters, digits and "-._"
	Stream   string // anything; path-escaped in the text. Empty: the object belongs to no single stream
	Origin   string // letters, digits and "-._"
	Sequence uint64
	Suffix   string // empty, or letters, digits and "._"; not twenty digits
}

const sequenceDigits = 20 // of the greatest uint64

// String is the object's name in a store.
func (n Name) String() string {
	var b strings.Builder
	b.WriteString(n.Epoch)
	b.WriteByte('/')
	b.WriteString(escapeStream(n.Stream))
	b.WriteByte('/')
	b.WriteString(n.Origin)
	fmt.Fprintf(&b, "-%0*d", sequenceDigits, n.Sequence)
	if n.Suffix != "" {
		b.WriteByte('-')
		b.WriteString(n.Suffix)
	}
	return b.String()
}

// ParseName is the inverse of Name.String. Text that String would not write is an error.
func ParseName(s string) (Name, error) {
	parts := strings.Split(s, "/")
	if len(parts) != 3 {
		return Name{}, fmt.Errorf("segment name %q: want epoch/stream/origin-sequence", s)
	}
	stream, err := unescapeStream(parts[1])
	if err != nil {
		return Name{}, fmt.Errorf("segment name %q: %w", s, err)
	}
	n := Name{Epoch: parts[0], Stream: stream}
	origin, sequence, _ := cutLast(parts[2])
	if !isSequence(sequence) {
		n.Suffix = sequence
		origin, sequence, _ = cutLast(origin)
	}
	n.Origin = origin
	if n.Sequence, err = strconv.ParseUint(sequence, 10, 64); err != nil {
		return Name{}, fmt.Errorf("segment name %q: no sequence of %d digits", s, sequenceDigits)
	}
	if n.valid() != nil || n.String() != s {
		return Name{}, fmt.Errorf("segment name %q: want epoch/stream/origin-sequence", s)
	}
	return n, nil
}

// valid holds the parts to the alphabets that make the text unambiguous and safe as a path.
func (n Name) valid() error {
	switch {
	case !isPlain(n.Epoch, "-._") || strings.Trim(n.Epoch, ".") == "":
		return fmt.Errorf("segment name: epoch %q: want letters, digits and \"-._\"", n.Epoch)
	case !isPlain(n.Origin, "-._") || strings.HasPrefix(n.Origin, "."):
		return fmt.Errorf("segment name: origin %q: want letters, digits and \"-._\"", n.Origin)
	case n.Suffix != "" && (!isPlain(n.Suffix, "._") || isSequence(n.Suffix)):
		return fmt.Errorf("segment name: suffix %q: want letters, digits and \"._\", not a sequence", n.Suffix)
	}
	return nil
}

// escapeStream keeps a stream one element of a path: "-" stands for none, and the elements that have
// a meaning in paths are escaped too.
func escapeStream(s string) string {
	switch s {
	case "":
		return "-"
	case "-":
		return "%2D"
	case ".":
		return "%2E"
	case "..":
		return "%2E%2E"
	}
	return url.PathEscape(s)
}

func unescapeStream(s string) (string, error) {
	if s == "-" {
		return "", nil
	}
	return url.PathUnescape(s)
}

func cutLast(s string) (before, after string, found bool) {
	if i := strings.LastIndexByte(s, '-'); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return "", s, false
}

func isSequence(s string) bool {
	if len(s) != sequenceDigits {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}

func isPlain(s, extra string) bool {
	for i := range len(s) {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			continue
		}
		if strings.IndexByte(extra, c) < 0 {
			return false
		}
	}
	return s != ""
}
