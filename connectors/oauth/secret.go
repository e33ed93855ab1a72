package oauth

import (
	"time"

	"tributary/connectors"
)

// Secrets are what an app's webhooks are signed with: its client secret and, for a while after a rotation, the one before.
type Secrets []signingSecret

type signingSecret struct {
	key   []byte
	until time.Time // zero = for ever
}

// SigningSecrets are those that are not empty of the secret and the previous one, which counts until a time in RFC 3339. Its error is of kind Invalid
// and names the field of until.
func SigningSecrets(op, field, secret, previous, until string) (Secrets, error) {
	var out Secrets
	if secret != "" {
		out = append(out, signingSecret{key: []byte(secret)})
	}
	if previous == "" {
		return out, nil
	}
	at, err := time.Parse(time.RFC3339, until)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, op, "%s: want a time such as 2026-03-01T12:00:00Z: a replaced secret is not accepted for ever", field)
	}
	return append(out, signingSecret{key: []byte(previous), until: at}), nil
}

// Valid are the keys that count now.
func (s Secrets) Valid(now time.Time) [][]byte {
	var keys [][]byte
	for _, secret := range s {
		if secret.until.IsZero() || now.Before(secret.until) {
			keys = append(keys, secret.key)
		}
	}
	return keys
}
