package postgres

import (
	"context"

	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/table"
)

// pool is the connections to one database, and which of its tables are known to be ready.
type pool struct {
	*pgxpool.Pool
	ready table.Ready[readiness]
}

// readiness names a table that fits a mode and a layout; with mode "" the ledger.
type readiness struct {
	schema, table string
	mode          connectors.Mode
	layout        string
}

func newPool(config *pgxpool.Config) (*pool, error) {
	p, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "the pool can't be made")
	}
	return &pool{Pool: p}, nil
}

func (p *pool) Close() error {
	p.Pool.Close()
	return nil
}
