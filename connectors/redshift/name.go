package redshift

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strings"
	"unicode"
	"unicode/utf8"

	"tributary/connectors"
)

// fold makes equal what Redshift takes for one name: it folds the letters of ASCII also where a name is quoted. A session may ask
// for something else (enable_case_sensitive_identifier); ours all are small. https://docs.aws.amazon.com/redshift/latest/dg/r_names.html
func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + 'a' - 'A'
		}
		return r
	}, name)
}

// spell makes a name that Redshift takes: of characters that can be printed, but the double quote. It does not keep names apart.
func spell(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == '"' || r == utf8.RuneError || !unicode.IsPrint(r) {
			return '_'
		}
		return r
	}, fold(name))
	if strings.TrimSpace(name) != name {
		return strings.ReplaceAll(name, " ", "_")
	}
	return name
}

// quote makes an identifier of a name that spell has made.
func quote(name string) string { return `"` + name + `"` }

// literal makes a string of SQL. In Redshift, which descends from PostgreSQL 8.0, a backslash always escapes; nothing that comes here has one, or a quote.
func literal(s string) string { return "'" + s + "'" }

// identity is what tells a row from all others, in place of a unique key, which Redshift does not enforce: a hash, because comparing texts there ignores blanks
// at the end (https://docs.aws.amazon.com/redshift/latest/dg/r_Character_types.html) and, in some databases, case.
func identity(b *connectors.Batch, r *connectors.Record) string {
	if b.Mode == connectors.Append || r.Key == "" {
		return digest(b.Installation, r.Stream, "", r.ID)
	}
	return digest(b.Installation, r.Stream, r.Key)
}

// laneID is the same for a row of the ledger.
func laneID(b *connectors.Batch) string { return digest(b.Epoch, b.Lane) }

// digest is 160 bits, in hexadecimal, of a hash of parts, none of which may run into the next.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(p)))
		h.Write(n[:])
		h.Write([]byte(p))
	}
	return hex.EncodeToString(h.Sum(nil)[:20])
}
