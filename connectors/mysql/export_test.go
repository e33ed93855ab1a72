package mysql

import (
	driver "github.com/go-sql-driver/mysql"

	"tributary/connectors"
)

// KindOf is the kind of an error by its number and SQLSTATE, and whether it lies in a row.
func KindOf(number uint16, state string) (kind connectors.Kind, row bool) {
	e := &driver.MySQLError{Number: number}
	copy(e.SQLState[:], state)
	return kindOf(e), inRow(e)
}

// TableName is the name of a table on a server that keeps the case of names.
func TableName(name string) string { return new(server).tableName(name) }

// WidenUpTo sets the largest table, in bytes, of which the destination widens a column.
func WidenUpTo(d connectors.Destination, bytes int64) { d.(*destination).pool.widens = bytes }

// Fits says what is against a server of a version.
func Fits(mariadb bool, version string) string {
	if mariadb {
		return mariadbDialect.fits(version)
	}
	return mysqlDialect.fits(version)
}
