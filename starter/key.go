package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/spf13/cobra"

	"tributary/internal/vault"
)

func (a *app) key() *cobra.Command {
	c := &cobra.Command{
		Use:   "key",
		Short: "Make and rotate the key file that encrypts connections",
		Long: `The key file encrypts connections and the tokens of webhook URLs. Whoever has it and the catalog can read them; without it they are
lost. Every worker, receiver and starter of a catalog uses the same file (TRIBUTARY_KEY_FILE). starter dev makes its own.`,
		Example: "  starter key new /etc/tributary/key.json\n  starter key rotate /etc/tributary/key.json",
	}
	for _, sub := range []struct {
		use, short, long, done string
		do                     func(string) error
	}{
		{"new FILE", "Make a key file", "new makes a key file that only its owner may read. It overwrites nothing.",
			"Made %s. Keep a copy in a safe place: without it, connections can't be read again.", newKeyFile},
		{"rotate FILE", "Add a new key", `rotate adds a key to the file, which from then on encrypts; the old ones still decrypt. Copy the file to the other machines.`,
			"Rotated %s. Copy it to the other machines; connections are encrypted with the new key when they are stored again.", vault.RotateKeyFile},
	} {
		c.AddCommand(&cobra.Command{
			Use: sub.use, Short: sub.short, Long: sub.long, Args: cobra.ExactArgs(1),
			Example: "  starter key " + strings.Replace(sub.use, "FILE", "/etc/tributary/key.json", 1),
			RunE: func(_ *cobra.Command, args []string) error {
				if err := sub.do(args[0]); err != nil {
					return err
				}
				return a.print(map[string]string{"file": args[0]}, func(w io.Writer) { fmt.Fprintf(w, sub.done+"\n", args[0]) })
			},
		})
	}
	return c
}

func newKeyFile(path string) error {
	err := vault.GenerateKeyFile(path)
	if errors.Is(err, fs.ErrExist) {
		return fail(exitExists, "%s exists already and is not overwritten: what it encrypted would be lost; `starter key rotate %s` adds a key", path, path)
	}
	return err
}
