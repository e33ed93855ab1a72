package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.temporal.io/api/serviceerror"

	"tributary/connectors"
	"tributary/internal/catalog"
	"tributary/internal/engine"
	"tributary/internal/integration"
)

// The exit statuses; they are part of what scripts rely on.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitExists      = 4
	exitRefused     = 5
	exitUnreachable = 6
	exitMismatch    = 7
	exitInterrupted = 130
)

const exitHelp = `Every command ends with one of these:

    0  done
    1  failed; the message says what to do
    2  wrong usage: an unknown flag, a wrong argument, or a file with problems
    3  not found: no such installation, integration, connection, record or file
    4  exists already, or conflicts with what exists
    5  refused: the installation or the integration does not allow it as it stands
    6  Temporal, the catalog or the dev stack can't be reached
    7  the data that arrived is not the data that was sent (demo)
  130  interrupted

With -o json an error is {"error": {"code": N, "message": "..."}} on stderr. Where a file has problems, the error of ` + "`install`" + ` lists
them under "problems", as ` + "`validate`" + ` does in its result on stdout.`

func exitCodes() *cobra.Command {
	return &cobra.Command{Use: "exit-codes", Short: "What the exit statuses mean", Long: exitHelp}
}

// failure is an error with its exit status.
type failure struct {
	code int
	err  error
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

func fail(code int, format string, args ...any) error {
	return &failure{code, fmt.Errorf(format, args...)}
}

func usage(format string, args ...any) error { return fail(exitUsage, format, args...) }

// silent is a failure whose reason was written already.
type silent struct{ code int }

func (s silent) Error() string { return fmt.Sprintf("exit status %d", s.code) }

// codeOf finds the exit status that fits an error.
func codeOf(err error) int {
	var f *failure
	var s silent
	var gone *serviceerror.NotFound
	var down *serviceerror.Unavailable
	var late *serviceerror.DeadlineExceeded
	var e *connectors.Error
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		return f.code
	case errors.As(err, &s):
		return s.code
	case errors.Is(err, catalog.ErrExists):
		return exitExists
	case errors.Is(err, engine.ErrRefused), errors.Is(err, catalog.ErrInactive), errors.Is(err, catalog.ErrEnded):
		return exitRefused
	case errors.Is(err, catalog.ErrNotFound), errors.As(err, &gone), errors.Is(err, os.ErrNotExist):
		return exitNotFound
	case errors.As(err, &down), errors.As(err, &late), errors.Is(err, context.DeadlineExceeded):
		return exitUnreachable
	case errors.As(err, new(integration.Problems)):
		return exitUsage
	case errors.As(err, &e):
		switch e.Kind {
		case connectors.Invalid:
			return exitUsage
		case connectors.NotFound:
			return exitNotFound
		case connectors.Unavailable:
			return exitUnreachable
		}
	}
	return exitFailed
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}
