package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"tributary/internal/integration"
)

func (a *app) validate() *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check integration files",
		Long: `validate reads integration files and says everything that is wrong with each, as file:line:column, and what would be right.
It needs nothing but the files. - reads stdin.`,
		Example: "  starter validate examples/*.yaml",
		Args:    cobra.MinimumNArgs(1),
		RunE:    func(_ *cobra.Command, args []string) error { return a.runValidate(args) },
	}
}

// validated is the result for one file.
type validated struct {
	File     string               `json:"file"`
	Name     string               `json:"name,omitempty"`
	OK       bool                 `json:"ok"`
	Problems integration.Problems `json:"problems,omitempty"`
}

func (a *app) runValidate(files []string) error {
	reg, _, err := a.registry()
	if err != nil {
		return err
	}
	results := make([]validated, 0, len(files))
	code := exitOK
	for _, file := range files {
		src, err := a.readFile(file, integration.MaxFileBytes+1)
		if err != nil { // the other files are looked at all the same
			code = cmp.Or(code, codeOf(err))
			results = append(results, validated{File: file, Problems: integration.Problems{{File: file, Message: reason(err)}}})
			continue
		}
		spec, err := integration.Parse(file, src, reg)
		r := validated{File: file, Name: spec.Name, OK: err == nil}
		if err != nil && !errors.As(err, &r.Problems) {
			return err
		}
		if err != nil {
			code = exitUsage
		}
		results = append(results, r)
	}
	if err := a.print(results, func(w io.Writer) {
		for _, r := range results {
			for _, p := range r.Problems {
				fmt.Fprintln(w, p)
			}
			if r.OK {
				fmt.Fprintf(w, "%s: ok, integration %s\n", r.File, r.Name)
			}
		}
	}); err != nil {
		return err
	}
	if code != exitOK {
		return silent{code}
	}
	return nil
}

// reason leaves out of an error of a file what the name of the file says already.
func reason(err error) string {
	var e *fs.PathError
	if errors.As(err, &e) {
		return e.Err.Error()
	}
	return err.Error()
}

// readFile reads a file, or stdin for -, up to a limit.
func (a *app) readFile(name string, limit int64) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(a.in, limit))
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, limit))
}
