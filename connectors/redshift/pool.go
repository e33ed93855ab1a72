package redshift

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tributary/connectors"
	"tributary/connectors/amazon"
	"tributary/connectors/outbound"
	"tributary/connectors/pgwire"
	"tributary/connectors/table"
)

// pool is the connections to one database and its bucket, and which of its tables are known to be ready.
type pool struct {
	*pgxpool.Pool
	files files
	login *login // nil with a password
	http  *http.Client
	ready table.Ready[readiness]
}

// readiness names a table that fits a mode and a layout; with mode "" the ledger.
type readiness struct {
	schema, table string
	mode          connectors.Mode
	layout, json  string
}

// settled is what each session begins with. The timeout ends an attempt that nobody waits for any more, so that it can't hold the ledger for ever.
// https://docs.aws.amazon.com/redshift/latest/dg/cm_chap_ConfigurationRef.html
var settled = []string{"SET statement_timeout TO 600000", "SET timezone TO 'UTC'"}

func newPool(c Connection, config *pgxpool.Config, env connectors.Env) (*pool, error) {
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		for _, s := range settled {
			if _, err := conn.Exec(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
	p := &pool{http: amazon.Client(c.Endpoint, env, outbound.Options{Timeout: 2 * time.Minute, Concurrency: 2 * pgwire.MaxConns})}
	cfg, err := amazon.Config(c.Credentials, c.Region, c.Endpoint, p.http)
	if err != nil {
		return nil, err
	}
	p.files = files{
		client: s3.NewFromConfig(cfg, func(o *s3.Options) { o.UsePathStyle = c.Endpoint != "" }),
		bucket: c.Bucket, prefix: cmp.Or(c.Prefix, defaultPrefix), region: c.Region, role: c.IAMRole, log: env.Logger(),
	}
	if c.Password == "" {
		p.login = newLogin(c, cfg, env)
		config.BeforeConnect = p.login.enter
	}
	if p.Pool, err = pgxpool.NewWithConfig(context.Background(), config); err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "the pool can't be made")
	}
	return p, nil
}

func (p *pool) Close() error {
	p.Pool.Close()
	p.http.CloseIdleConnections()
	return nil
}
