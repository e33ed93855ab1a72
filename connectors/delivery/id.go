package delivery

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"io"

	"tributary/connectors"
)

// ID names what a request carries, so that a receiver knows it when it comes again (I3): a hash of the installation and of each
// record's stream and ID, 43 characters of base64url. It holds no dot, which would be ambiguous in what Standard Webhooks signs.
func ID(b *connectors.Batch, group []int) string {
	h := sha256.New()
	field := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		io.WriteString(h, s)
	}
	field(b.Installation)
	for _, i := range group {
		field(b.Records[i].Stream)
		field(b.Records[i].ID)
	}
	return base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}
