package mongodb

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"tributary/connectors"
	"tributary/connectors/table"
)

// maxName bounds a collection's name: with the database's and a dot it has 255 bytes at most. https://www.mongodb.com/docs/manual/reference/limits/#naming-restrictions
const maxName = 180

// collectionName is the name of the collection for a stream's records. What MongoDB does not take in a name becomes _, and the name then ends in a hash, so
// that two names stay two.
func collectionName(n table.Name, b *connectors.Batch, stream string) string {
	wanted := n.For(*b, stream, maxName)
	name := strings.ReplaceAll(wanted, "$", "_")
	for strings.Contains(name, "..") {
		name = strings.ReplaceAll(name, "..", "._")
	}
	if strings.HasPrefix(name, ".") || strings.HasPrefix(name, "system.") {
		name = "_" + name[1:]
	}
	if strings.HasSuffix(name, ".") {
		name = name[:len(name)-1] + "_"
	}
	if name == wanted && name != "" {
		return name
	}
	sum := sha256.Sum256([]byte(wanted))
	return name + "_" + hex.EncodeToString(sum[:4])
}
