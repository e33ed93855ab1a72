package pgwire

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// kinds maps SQLSTATEs to kinds (I9), the longest prefix first that fits. https://www.postgresql.org/docs/current/errcodes-appendix.html
// The table stands in docs/destinations/postgres.md and redshift.md too.
var kinds = []struct {
	prefix string
	kind   connectors.Kind
}{
	{"25006", connectors.Unavailable}, // read-only: a standby, a disk that filled up, a cluster that is resized
	{"28", connectors.Unauthorized},
	{"3D000", connectors.NotFound},
	{"3F000", connectors.NotFound},
	{"42501", connectors.Forbidden},
	{"42P01", connectors.Unavailable}, // a table vanished: the next attempt makes it again
	{"08", connectors.Unavailable},
	{"25", connectors.Unavailable},
	{"40", connectors.Unavailable},
	{"53", connectors.Unavailable},
	{"55", connectors.Unavailable},
	{"57", connectors.Unavailable},
	{"58", connectors.Unavailable},
	{"0A", connectors.Invalid},
	{"22", connectors.Invalid},
	{"23", connectors.Invalid},
	{"42", connectors.Invalid},
	{"44", connectors.Invalid},
	{"54", connectors.Invalid},
	{"P0", connectors.Invalid},
}

// KindOf is the kind of a server's error, by its SQLSTATE.
func KindOf(sqlstate string) connectors.Kind {
	for _, k := range kinds {
		if strings.HasPrefix(sqlstate, k.prefix) {
			return k.kind
		}
	}
	return connectors.Unknown
}

// InRow says that an error of a statement that carries rows lies in one of them, by its SQLSTATE: data, constraints, size, views and triggers.
func InRow(sqlstate string) bool {
	return len(sqlstate) == 5 && slices.Contains([]string{"21", "22", "23", "44", "54", "P0"}, sqlstate[:2])
}

// Unreached explains an error that is not the server's own; see outbound.Advice.
func Unreached(c *pgx.ConnConfig, a outbound.Advice, op string, err error) *connectors.Error {
	if strings.Contains(err.Error(), "server refused TLS connection") { // of pgconn, which gives it no type
		err = errors.Join(outbound.ErrNoTLS, err)
	}
	a.Plain = "set sslmode to disable or prefer"
	return a.Unreached(op, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))), err)
}

// Operations whose failure has an advice of its own: see Grants.Lacking.
const (
	CreatingSchema = "create schema"
	CreatingTable  = "create table"
	CreatingStage  = "create temporary table"
)

// Grants are the statements that give a role what a destination needs.
type Grants struct{ Create, Temporary, Schema, Tables string }

// GrantsFor are those for a schema of a database.
func GrantsFor(role, database, schema string) Grants {
	role, database, schema = pgx.Identifier{role}.Sanitize(), pgx.Identifier{database}.Sanitize(), pgx.Identifier{schema}.Sanitize()
	return Grants{
		Create:    fmt.Sprintf("GRANT CREATE ON DATABASE %s TO %s", database, role),
		Temporary: fmt.Sprintf("GRANT TEMPORARY ON DATABASE %s TO %s", database, role),
		Schema:    fmt.Sprintf("GRANT USAGE, CREATE ON SCHEMA %s TO %s", schema, role),
		Tables:    fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA %s TO %s", schema, role),
	}
}

// Lacking says what to do when an operation failed for a right that is missing.
func (g Grants) Lacking(op string) string {
	switch op {
	case CreatingSchema:
		return Administrator(g.Create)
	case CreatingStage:
		return Administrator(g.Temporary)
	}
	return Administrator(g.Schema, g.Tables)
}

// Administrator says who has to run statements.
func Administrator(statements ...string) string {
	return "let an administrator run: " + strings.Join(statements, "; ")
}
