package workflows

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/temporal"

	"tributary/activities"
)

type tokenError struct{ url string }

func (e *tokenError) Error() string { return "Post " + e.url + ": refused" }

// What activities fail with is shown in words of our own: the text of a panic or of a foreign error may hold a secret or a row (I7).
func TestForeignErrorsAreNotQuoted(t *testing.T) {
	t.Parallel()
	const secret = "https://app.example/hooks/s3cr3t"
	for name, c := range map[string]struct {
		err  func() error
		want string
	}{
		"text":    {func() error { return errors.New(secret) }, "(error)"},
		"wrapped": {func() error { return fmt.Errorf("send: %w", &tokenError{secret}) }, "(wrapError)"},
		"typed":   {func() error { return &tokenError{secret} }, "(tokenError)"},
		"panic":   {func() error { panic(secret) }, "(panic)"},
		"own": {func() error {
			return temporal.NewApplicationError("publish: catalog: connection refused", activities.CatalogErrorType)
		}, "publish: catalog: connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.breaks = c.err
			var during Status
			w.drive(input(realtimePlan()), time.Hour,
				event{time.Minute, signal(arrivalOf(1, 1, 10))},
				event{30 * time.Minute, func(env *testEnv) { during = w.look(env) }})
			text, err := json.Marshal(during)
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(during.Problem, c.want) || strings.Contains(string(text), "s3cr3t") {
				t.Errorf("status says %s", text)
			}
		})
	}
}
