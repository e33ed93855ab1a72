package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"tributary/connectors"
	"tributary/connectors/builtin"
	"tributary/internal/engine"
)

// readerTask is the floor of reading an app: its connector asked for page after page, what comes written to DuckDB in lots by the destination,
// by hand and one after the other. It keeps no cursor, paces nothing and would lose what it had read when it dies.
type readerTask struct {
	Connector  string          `json:"connector"`
	Settings   json.RawMessage `json:"settings"`
	Connection json.RawMessage `json:"connection"`
	Stream     string          `json:"stream"`
	Path       string          `json:"path"` // of the DuckDB file
}

func (t readerTask) serve(_ context.Context, mux *http.ServeMux) (string, func(), error) {
	registry, files, err := builtin.New()
	if err != nil {
		return "", nil, err
	}
	def, err := registry.Lookup(t.Connector)
	if err != nil {
		return "", nil, err
	}
	env := connectors.Env{Transport: http.DefaultTransport, Networks: engine.DevNetworks()}
	opened, err := def.OpenSource(connectors.Config{Settings: t.Settings, Connection: t.Connection, Streams: []string{t.Stream}, Env: env})
	if err != nil {
		return "", nil, err
	}
	source, ok := opened.(connectors.Source)
	if !ok {
		return "", nil, fmt.Errorf("%s doesn't poll", t.Connector)
	}
	settings, err := json.Marshal(map[string]string{"path": t.Path, "table": "records"})
	if err != nil {
		return "", nil, err
	}
	destination, err := files.Definition().OpenDestination(connectors.Config{Settings: settings, Mode: connectors.ModeUpsert, Env: env})
	if err != nil {
		return "", nil, err
	}
	mux.HandleFunc("POST /read", func(w http.ResponseWriter, r *http.Request) {
		n, err := t.read(r.Context(), source, destination)
		answer(w, n, err)
	})
	return "", func() {
		destination.Close()
		files.Close()
	}, nil
}

// read returns how many records there were.
func (t readerTask) read(ctx context.Context, source connectors.Source, destination connectors.Destination) (int, error) {
	req := connectors.FetchRequest{Stream: t.Stream}
	b := connectors.Batch{Installation: floorInstallation, Integration: floorInstallation, User: "u0", Epoch: "floor", Lane: "warehouse", Mode: connectors.ModeUpsert}
	write := func() error {
		_, err := destination.Write(ctx, b)
		b.First, b.Records = b.Next, b.Records[:0]
		return err
	}
	for more := true; more; {
		page, err := source.Fetch(ctx, req)
		if err != nil {
			return 0, err
		}
		now := time.Now()
		for _, r := range page.Records {
			r.ReceivedAt, r.Ordinal = now, b.Next
			b.Next++
			b.Records = append(b.Records, r)
		}
		req.Cursor, more = page.Cursor, page.More
		if len(b.Records) >= lot {
			if err := write(); err != nil {
				return 0, err
			}
		}
	}
	return int(b.Next), write()
}
