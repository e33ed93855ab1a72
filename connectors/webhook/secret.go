package webhook

import (
	"encoding/base64"
	"errors"
	"strings"
	"time"
)

// key is what signatures are checked with.
type key struct {
	bytes []byte
	until time.Time // the key is refused from then on; zero = never
}

func (k key) valid(now time.Time) bool { return k.until.IsZero() || now.Before(k.until) }

// parseKeys reads the connection, the newest secret first. An empty secret gives no key: everything is refused then,
// because anyone can sign with nothing.
func parseKeys(c Connection, s *scheme) ([]key, error) {
	var keys []key
	add := func(name, secret string, until time.Time) error {
		b, err := s.parseKey(secret)
		if err != nil {
			return errors.New(name + ": " + err.Error())
		}
		if len(b) > 0 {
			keys = append(keys, key{b, until})
		}
		return nil
	}
	if c.PreviousSecret != "" && c.PreviousValidUntil.IsZero() {
		return nil, errors.New("previous_secret needs previous_valid_until")
	}
	return keys, errors.Join(
		add("secret", c.Secret, time.Time{}),
		add("previous_secret", c.PreviousSecret, c.PreviousValidUntil),
	)
}

// parseKey never quotes the secret.
func (s *scheme) parseKey(secret string) ([]byte, error) {
	if !s.keyIsBase64 {
		return []byte(secret), nil
	}
	text := strings.TrimPrefix(strings.TrimPrefix(secret, "whsec_"), "whpk_")
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return nil, errors.New("not base64; copy it from the sender as a whole")
	}
	if s.publicKeyBytes > 0 && len(b) > 0 && len(b) != s.publicKeyBytes {
		return nil, errors.New("not a public key of ed25519, which has 32 bytes")
	}
	return b, nil
}
