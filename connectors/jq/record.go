package jq

import (
	"time"

	"tributary/connectors"
)

// Variables are what programs about a record know beside its payload.
var Variables = []string{"$id", "$stream", "$key", "$op", "$occurred_at", "$received_at"}

// Values are the record's values of Variables. Times are in RFC 3339 and UTC, null where they are unknown.
func Values(r *connectors.Record) []any {
	return []any{r.ID, r.Stream, r.Key, string(r.Op), timestamp(r.OccurredAt), timestamp(r.ReceivedAt)}
}

func timestamp(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}

// Payload decodes a payload; an empty one is null. The error holds nothing of it (I7).
func Payload(raw []byte) (any, error) {
	if len(raw) == 0 {
		return nil, nil
	}
	v, err := Decode(raw)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "read payload", "it is not JSON that can be read, or nested too deep")
	}
	return v, nil
}
