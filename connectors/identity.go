package connectors

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"hash"
)

// RecordID derives the ID of a change that the app itself gives no unique ID (I1): 43 characters of
// base64url of SHA-256 over stream, key, version and payload, each preceded by its length, so that no
// two different changes collide by concatenation.
func RecordID(stream, key string, version int64, data []byte) string {
	h := sha256.New()
	writeField(h, []byte(stream))
	writeField(h, []byte(key))
	var v [8]byte
	binary.BigEndian.PutUint64(v[:], uint64(version))
	h.Write(v[:])
	writeField(h, data)
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

func writeField(h hash.Hash, b []byte) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(b)))
	h.Write(n[:])
	h.Write(b)
}
