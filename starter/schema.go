package main

import (
	"bytes"
	"os"

	"github.com/spf13/cobra"

	"tributary/internal/integration"
)

func (a *app) schema() *cobra.Command {
	var check string
	c := &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of integration files",
		Long: `schema prints the JSON Schema of integration files, with the settings of every connector of this build. Editors complete and check
files with it. --check compares a file with it and ends with status 1 when the file is stale.`,
		Example: `  starter schema > integration.schema.json
  starter schema --check docs/integration.schema.json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return a.runSchema(check) },
	}
	c.Flags().StringVar(&check, "check", "", "file to compare with the schema")
	return c
}

func (a *app) runSchema(check string) error {
	reg, _, err := a.registry()
	if err != nil {
		return err
	}
	raw, err := integration.Schema(reg)
	if err != nil {
		return err
	}
	if check == "" {
		_, err := a.out.Write(raw)
		return err
	}
	have, err := os.ReadFile(check)
	if err != nil {
		return err
	}
	if !bytes.Equal(have, raw) {
		return fail(exitFailed, "%s is stale: write it anew with `starter schema > %s`", check, check)
	}
	a.note("%s is up to date.", check)
	return nil
}
