package webhook

import (
	"bytes"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"tributary/connectors"
)

// maxSignatures bounds how many signatures of one header are tried: each costs time before the sender is known.
const maxSignatures = 16

const defaultTolerance = 5 * time.Minute

// scheme is a Signature ready for use.
type scheme struct {
	header            string
	prefix, separator string
	newHash           func() hash.Hash // nil: ed25519
	hex               bool             // else base64
	keyIsBase64       bool
	publicKeyBytes    int // 0: the key is a shared secret
	content           []part
	id                string // header, empty: none
	afterID           string // literal that ends the ID within the content
	timestamp         *Timestamp
	tolerance         time.Duration
}

// part is a piece of what is signed: a placeholder, or a literal where that is empty.
type part struct{ placeholder, literal string }

var placeholders = []string{"id", "timestamp", "method", "url", "body"}

// parseSignature reports every problem through problem.
func parseSignature(sig Signature, problem func(format string, args ...any)) *scheme {
	s := &scheme{
		header: canonical(sig.Header), prefix: sig.Prefix, separator: sig.Separator,
		id: canonical(sig.ID), timestamp: sig.Timestamp, tolerance: defaultTolerance,
	}
	if s.header == "" {
		problem("signature.header: %q is no name of a header", sig.Header)
	}
	switch sig.Algorithm {
	case "", "hmac-sha256":
		s.newHash = sha256.New
	case "hmac-sha512":
		s.newHash = sha512.New
	case "hmac-sha1": // Intercom's; a HMAC doesn't suffer from SHA-1's collisions
		s.newHash = sha1.New
	case "ed25519":
		s.publicKeyBytes = ed25519.PublicKeySize
	default:
		problem("signature.algorithm: %q is not known; known are hmac-sha256, hmac-sha512, hmac-sha1, ed25519", sig.Algorithm)
	}
	switch sig.Encoding {
	case "", "hex":
		s.hex = true
	case "base64":
	default:
		problem("signature.encoding: %q is not known; known are hex, base64", sig.Encoding)
	}
	switch sig.Key {
	case "", "text":
		s.keyIsBase64 = s.publicKeyBytes > 0
	case "base64":
		s.keyIsBase64 = true
	default:
		problem("signature.key: %q is not known; known are text, base64", sig.Key)
	}
	s.parseContent(sig, problem)
	s.parseTimestamp(sig, problem)
	return s
}

func (s *scheme) parseContent(sig Signature, problem func(format string, args ...any)) {
	rest := sig.Content
	if rest == "" {
		rest = "{body}"
	}
	uses := make(map[string]bool)
	for rest != "" {
		literal, after, open := strings.Cut(rest, "{")
		if literal != "" {
			s.content = append(s.content, part{literal: literal})
		}
		if !open {
			break
		}
		name, after, _ := strings.Cut(after, "}")
		if !slices.Contains(placeholders, name) {
			problem("signature.content: {%s} is not known; known are {%s}", name, strings.Join(placeholders, "}, {"))
		}
		s.content = append(s.content, part{placeholder: name})
		uses[name], rest = true, after
	}
	for i, p := range s.content[:max(len(s.content)-1, 0)] {
		if p.placeholder == "id" {
			s.afterID = s.content[i+1].literal
		}
	}
	switch {
	case !uses["body"]:
		problem("signature.content: {body} is missing; a signature must cover the body")
	case uses["id"] && s.id == "":
		problem("signature.content: {id} needs signature.id, the header that holds it")
	case uses["timestamp"] != (s.timestamp != nil):
		problem("signature.content: {timestamp} and signature.timestamp need each other; a time that is not signed guards nothing")
	}
}

func (s *scheme) parseTimestamp(sig Signature, problem func(format string, args ...any)) {
	t := sig.Timestamp
	if t == nil {
		return
	}
	if !slices.Contains(units, t.Unit) {
		problem("signature.timestamp.unit: %q is not known; known are %s", t.Unit, knownUnits)
	}
	switch {
	case t.Header != "" && canonical(t.Header) == "":
		problem("signature.timestamp.header: %q is no name of a header", t.Header)
	case t.Header == "" && (t.Prefix == "" || s.separator == ""):
		problem("signature.timestamp: want a header, or a prefix of an element and signature.separator")
	}
	if t.Tolerance != "" {
		d, err := time.ParseDuration(t.Tolerance)
		if err != nil || d <= 0 {
			problem("signature.timestamp.tolerance: %q: want a duration such as 5m", t.Tolerance)
		}
		s.tolerance = d
	}
}

// verify checks the delivery on its raw bytes (I13). Whatever is not the signature that was to be is Unauthorized.
func (s *scheme) verify(d connectors.Delivery, keys []key, now time.Time) error {
	const op = "check signature"
	if !slices.ContainsFunc(keys, func(k key) bool { return k.valid(now) }) {
		return connectors.Errorf(connectors.Unauthorized, op, "the connection has no valid secret; set it to the one that the sender shows")
	}
	header, err := single(d.Header, s.header)
	if err != nil {
		return connectors.Errorf(connectors.Unauthorized, op, "%v", err)
	}
	var elements []string
	if s.separator == "" {
		elements = []string{header}
	} else if elements = strings.SplitN(header, s.separator, maxSignatures+1); len(elements) > maxSignatures {
		return connectors.Errorf(connectors.Unauthorized, op, "header %s has more than %d elements", s.header, maxSignatures)
	}
	m := message{delivery: d}
	if s.id != "" {
		if m.id, err = single(d.Header, s.id); err != nil {
			return connectors.Errorf(connectors.Unauthorized, op, "%v", err)
		}
	}
	if s.timestamp != nil {
		if m.timestamp, err = s.findTimestamp(d.Header, elements); err != nil {
			return connectors.Errorf(connectors.Unauthorized, op, "%v", err)
		}
		signedAt, ok := parseMoment(m.timestamp, s.timestamp.Unit)
		if !ok {
			return connectors.Errorf(connectors.Unauthorized, op, "the signed timestamp is no time")
		}
		if now.Sub(signedAt).Abs() > s.tolerance {
			return connectors.Errorf(connectors.Unauthorized, op, "the signed timestamp is more than %v from our clock: a replay, or a clock is wrong", s.tolerance)
		}
	}
	for _, k := range keys {
		if k.valid(now) && s.signedWith(k, m, elements) {
			// The ID must end where the sender's ended, or bytes could move between it and what follows.
			if s.afterID != "" && strings.Contains(m.id, s.afterID) {
				return connectors.Errorf(connectors.Invalid, op, "the ID in header %s contains %q", s.id, s.afterID)
			}
			return nil
		}
	}
	return connectors.Errorf(connectors.Unauthorized, op, "header %s holds no signature of this delivery by the connection's secret", s.header)
}

// findTimestamp returns the timestamp as text, which is what was signed.
func (s *scheme) findTimestamp(h http.Header, elements []string) (string, error) {
	if s.timestamp.Header != "" {
		return single(h, canonical(s.timestamp.Header))
	}
	found := ""
	for _, e := range elements {
		if text, ok := strings.CutPrefix(strings.TrimSpace(e), s.timestamp.Prefix); ok {
			if found != "" {
				return "", fmt.Errorf("header %s has more than one timestamp", s.header)
			}
			found = text
		}
	}
	if found == "" {
		return "", fmt.Errorf("header %s has no timestamp", s.header)
	}
	return found, nil
}

// signedWith reports whether one of the elements is the signature of m. Signatures are compared as text: an encoding
// that only decodes to the same bytes is not what the sender wrote.
func (s *scheme) signedWith(k key, m message, elements []string) bool {
	var want []byte
	var signed bytes.Buffer
	if s.newHash != nil {
		mac := hmac.New(s.newHash, k.bytes)
		s.write(mac, m)
		want = s.encode(mac.Sum(nil))
	} else {
		s.write(&signed, m)
	}
	for _, e := range elements {
		text, ok := strings.CutPrefix(strings.TrimSpace(e), s.prefix)
		if !ok {
			continue
		}
		if s.newHash != nil {
			if subtle.ConstantTimeCompare([]byte(text), want) == 1 {
				return true
			}
		} else if sig, err := s.decode(text); err == nil && ed25519.Verify(k.bytes, signed.Bytes(), sig) {
			return true
		}
	}
	return false
}

// message is what a sender signs, in parts.
type message struct {
	id, timestamp string
	delivery      connectors.Delivery
}

// write puts the signed content into w, which is a hash or a buffer and returns no error.
func (s *scheme) write(w io.Writer, m message) {
	for _, p := range s.content {
		switch p.placeholder {
		case "":
			io.WriteString(w, p.literal)
		case "id":
			io.WriteString(w, m.id)
		case "timestamp":
			io.WriteString(w, m.timestamp)
		case "method":
			io.WriteString(w, m.delivery.Method)
		case "url":
			io.WriteString(w, m.delivery.URL)
		case "body":
			w.Write(m.delivery.Body)
		}
	}
}

func (s *scheme) encode(mac []byte) []byte {
	if s.hex {
		return hex.AppendEncode(nil, mac)
	}
	return base64.StdEncoding.AppendEncode(nil, mac)
}

func (s *scheme) decode(text string) ([]byte, error) {
	if s.hex {
		return hex.DecodeString(text)
	}
	return base64.StdEncoding.Strict().DecodeString(text)
}

// single returns the header's value, which must be there, once: of two, senders and proxies disagree which one counts.
func single(h http.Header, name string) (string, error) {
	switch values := h[name]; {
	case len(values) == 0 || len(values) == 1 && values[0] == "":
		return "", fmt.Errorf("header %s is missing", name)
	case len(values) > 1:
		return "", fmt.Errorf("header %s comes more than once", name)
	default:
		return values[0], nil
	}
}
