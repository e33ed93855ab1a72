// Command ferretdb serves the protocol of MongoDB from a PostgreSQL database, for tests: FerretDB's modules are too heavy for the module of the product.
//
// It listens on a free port of the loopback, prints its URL, and ends when its standard input does.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/FerretDB/FerretDB/ferretdb"
)

func main() {
	dsn := flag.String("postgres", "", "`URL` of the PostgreSQL database that holds the documents")
	flag.Parse()
	if err := serve(*dsn); err != nil {
		fmt.Fprintln(os.Stderr, "ferretdb:", err)
		os.Exit(1)
	}
}

func serve(dsn string) error {
	server, err := ferretdb.New(&ferretdb.Config{
		Listener:      ferretdb.ListenerConfig{TCP: "127.0.0.1:0"},
		Logger:        slog.New(slog.DiscardHandler),
		Handler:       "postgresql",
		PostgreSQLURL: dsn,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		defer cancel()
		io.Copy(io.Discard, os.Stdin)
	}()
	fmt.Println(server.MongoDBURI())
	return server.Run(ctx)
}
