package receiver

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"tributary/connectors"
)

// What a connector fails with may quote a payload or a secret: only the text of its own errors is logged (I7).
func TestRefusalsHideForeignErrors(t *testing.T) {
	t.Parallel()
	const canary = "canary-7f3a"
	for _, err := range []error{
		errors.New(canary),
		&connectors.Error{Kind: connectors.Invalid, Message: "not understood", Err: errors.New(canary)},
		fmt.Errorf("parse %s: %w", canary, connectors.Errorf(connectors.Unauthorized, "verify", "the signature is wrong")),
	} {
		if text := refuseReceive(err).cause.Error(); strings.Contains(text, canary) {
			t.Errorf("%T shows %q", err, text)
		}
	}
}
