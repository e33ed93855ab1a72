package mysql

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Errors that are looked for.
const (
	badNull        = 1048
	duplicateEntry = 1062
	noSuchTable    = 1146
	noDefault      = 1364
	// unknownVariable is what a server of the other dialect says to the session's variables.
	unknownVariable = 1193
)

// kinds maps error numbers to kinds (I9). https://dev.mysql.com/doc/mysql-errors/8.0/en/server-error-reference.html,
// https://mariadb.com/kb/en/mariadb-error-code-reference/ - the table stands in docs/destinations/mysql.md too.
var kinds = []struct {
	kind    connectors.Kind
	numbers []uint16
}{
	// A password that is wrong, missing or expired, an account that is locked, a way of logging in that the driver has not.
	{connectors.Unauthorized, []uint16{1045, 1251, 1698, 1820, 1862, 3118, 3955, 4151}},
	// A database, table, column or command that is not granted; a host that may not connect.
	{connectors.Forbidden, []uint16{1044, 1130, 1142, 1143, 1227, 1370}},
	{connectors.NotFound, []uint16{1049}},
	// A quota by the hour.
	{connectors.RateLimited, []uint16{1226}},
	// Deadlock, waits for locks that took too long, a definition that changed meanwhile.
	{connectors.Unavailable, []uint16{1205, 1213, 1206, 1412, 1615, 3058, 3572}},
	// A table vanished: the next attempt makes it again.
	{connectors.Unavailable, []uint16{noSuchTable, 1051}},
	// Too many connections, a blocked host, shutdown, a connection or statement that was ended, no resources, a full disk, read-only, a cluster that is not ready, a packet
	// larger than the server takes by now.
	{connectors.Unavailable, []uint16{
		1015, 1021, 1028, 1030, 1037, 1038, 1040, 1041, 1042, 1043, 1047, 1053, 1077, 1079, 1080, 1105, 1114, 1129, 1135, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160,
		1161, 1180, 1184, 1203, 1290, 1317, 1637, 1792, 1836, 1927, 1969, 3024, 3100, 3101, 3169, 4031,
	}},
	// A name or statement that the server does not take, a table that can't be so.
	{connectors.Invalid, []uint16{1050, 1059, 1060, 1061, 1064, 1067, 1071, 1072, 1074, 1103, 1117, 1118, 1166, 1170, unknownVariable, 1235, 1253, 1273, 1286, noDefault, 1478, 1787, 3108, 3750}},
}

// rowNumbers are errors that lie in a row, besides the SQLSTATE classes of data, constraints and what triggers say. They have a general SQLSTATE.
var rowNumbers = []uint16{1265, 1366, 1369, 1371, 1525, 1526, 1644, 1118, 1139, 1270, 3140, 3141, 3156, 3157, 3819, 4025, 4161}

// loadsRefused say that LOAD DATA LOCAL is turned off.
var loadsRefused = []uint16{1148, 2068, 3948, 3950, 4166}

func kindOf(e *mysql.MySQLError) connectors.Kind {
	for _, k := range kinds {
		if slices.Contains(k.numbers, e.Number) {
			return k.kind
		}
	}
	switch class(e) {
	case "08", "40":
		return connectors.Unavailable
	case "28":
		return connectors.Unauthorized
	case "21", "22", "23", "42", "44", "45":
		return connectors.Invalid
	}
	if slices.Contains(rowNumbers, e.Number) {
		return connectors.Invalid
	}
	return connectors.Unknown
}

func class(e *mysql.MySQLError) string { return string(e.SQLState[:2]) }

// inRow says that an error of a statement that carries rows lies in one of them. A column without a default lies in all.
func inRow(e *mysql.MySQLError) bool {
	if e.Number == noDefault {
		return false
	}
	return slices.Contains(rowNumbers, e.Number) || slices.Contains([]string{"21", "22", "23", "44", "45"}, class(e))
}

var advice = outbound.Advice{
	Public: "give a public host", Trusted: "give the right host and, as ssl_ca, the authority that signed it", Plain: "set ssl_mode to disabled or preferred",
}

// failed turns what the driver returned into an *Error. The server's own message is repeated only where it quotes no row (I7).
func (p *pool) failed(op string, err error) *connectors.Error {
	var e *connectors.Error
	if errors.As(err, &e) {
		return e
	}
	var m *mysql.MySQLError
	if errors.As(err, &m) {
		return p.answered(op, m)
	}
	switch {
	case errors.Is(err, mysql.ErrNoTLS):
		err = errors.Join(outbound.ErrNoTLS, err)
	case errors.Is(err, mysql.ErrUnknownPlugin) || errors.Is(err, mysql.ErrOldPassword) || errors.Is(err, mysql.ErrCleartextPassword):
		return &connectors.Error{Kind: connectors.Unauthorized, Op: op, Err: err,
			Message: "the user logs in by a plugin that is not supported: let it have caching_sha2_password, ed25519 or mysql_native_password"}
	case errors.Is(err, mysql.ErrPktTooLarge):
		p.forget()
		return &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: "the server takes smaller packets than before", Err: err}
	}
	return advice.Unreached(op, p.config.Addr, err)
}

// answered describes a server's error.
func (p *pool) answered(op string, m *mysql.MySQLError) *connectors.Error {
	e := &connectors.Error{Kind: kindOf(m), Op: op, Message: fmt.Sprintf("%s (error %d)", connectors.Clip(m.Message, 400), m.Number), Err: m}
	switch {
	case inRow(m):
		e.Message = reason(m)
	case m.Number == 1064 || e.Kind == connectors.Unknown: // may quote the statement, which may have rows
		e.Message = fmt.Sprintf("%s answered with error %d", p.dialect.title, m.Number)
	}
	if class(m) == "42" || m.Number == noDefault || m.Number == 1153 {
		p.forget()
	}
	switch {
	case m.Number == noSuchTable:
		e.Message += ": it is made again"
	case m.Number == noDefault:
		e.Message += ": a column that was added to the table as NOT NULL needs a default"
	case m.Number == unknownVariable && op == "connect":
		e.Message += ". Perhaps the server is the other one: use the connector for it: mysql or mariadb"
	case m.Number == 1071:
		e.Message += ": innodb_page_size of the server must be 16 KiB or more"
	case e.Kind == connectors.Forbidden && m.Number != 1130:
		e.Message += "; " + p.administrator()
	}
	return e
}

// reason says why a row was refused in words of our own: the server's message may quote it.
func reason(e *mysql.MySQLError) string {
	what := "the server refused it"
	switch {
	case e.Number == 1644 || class(e) == "45":
		what = "a trigger of the database refused it"
	case e.Number == 3819 || e.Number == 4025: // names the check, quotes nothing
		what = "it breaks a check that was added to the table: " + connectors.Clip(e.Message, 200)
	case e.Number == 1452 || e.Number == 1216:
		what = "it breaks a foreign key that was added to the table"
	case e.Number == duplicateEntry:
		what = "it breaks a unique index that was added to the table"
	case e.Number == 1406:
		what = "a value is longer than its column"
	case e.Number == 1118:
		what = "the row is larger than a page of the server allows"
	case e.Number >= 3140 && e.Number <= 3157:
		what = "a value is not accepted as JSON"
	case class(e) == "22" || e.Number == 1366 || e.Number == 1265:
		what = "a value does not fit its column"
	}
	return fmt.Sprintf("%s (error %d)", what, e.Number)
}

// grant is the statement that gives the user what it needs. In the name of a database _ and % are patterns.
func (p *pool) grant() string {
	database := strings.NewReplacer("_", `\_`, "%", `\%`, "`", "``").Replace(p.config.DBName)
	return fmt.Sprintf("GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, ALTER, INDEX, CREATE TEMPORARY TABLES ON `%s`.* TO %s", database, quote(p.config.User))
}

func (p *pool) administrator() string { return "let an administrator run: " + p.grant() }
