package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
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
	// Nothing is prepared on the server, so that a pooler between may hand each transaction to another connection.
	config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	config.ConnConfig.StatementCacheCapacity = 0
	config.ConnConfig.DescriptionCacheCapacity = 0
	config.ConnConfig.OnNotice = func(*pgconn.PgConn, *pgconn.Notice) {}
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
