package mysql

import (
	"fmt"
	"strings"
)

// dialect is in what the two servers differ.
type dialect struct {
	name, title string
	// collation compares text as bytes, and blanks at its end too.
	collation string
	// session are the variables that each connection sets, besides those of both.
	session map[string]string
	// oldest is the first version that has all that is used here.
	oldest [3]int
	// fresh names a column of the row that an INSERT brings; alias is how that row gets a name, where it needs one.
	fresh func(column string) string
	alias string
	// mark is what the server calls itself in its version.
	mark string
}

const incoming = "`_tributary_new`"

var mysqlDialect = dialect{
	name: "mysql", title: "MySQL",
	collation: "utf8mb4_0900_bin",
	session:   map[string]string{"transaction_isolation": "'READ-COMMITTED'"},
	oldest:    [3]int{8, 0, 19}, // the alias of a row: https://dev.mysql.com/doc/refman/8.0/en/insert-on-duplicate.html
	fresh:     func(column string) string { return incoming + "." + column },
	alias:     " AS " + incoming,
}

var mariadbDialect = dialect{
	name: "mariadb", title: "MariaDB",
	collation: "utf8mb4_nopad_bin",
	// max_statement_time ends what nobody waits for any more: https://mariadb.com/kb/en/aborting-statements/
	session: map[string]string{"tx_isolation": "'READ-COMMITTED'", "max_statement_time": "300", "idle_transaction_timeout": "60"},
	oldest:  [3]int{10, 4, 0},
	fresh:   func(column string) string { return "VALUES(" + column + ")" },
	mark:    "MariaDB",
}

func (d *dialect) fits(version string) (problem string) {
	if mariadb := strings.Contains(version, mariadbDialect.mark); mariadb != (d.mark != "") {
		return fmt.Sprintf("the server is not %s: it says that its version is %.60q. Use the connector for it: mysql or mariadb", d.title, version)
	}
	var has [3]int
	_, _ = fmt.Sscanf(version, "%d.%d.%d", &has[0], &has[1], &has[2]) // what is missing counts as 0
	for i := range has {
		if has[i] != d.oldest[i] {
			if has[i] < d.oldest[i] {
				return fmt.Sprintf("the server's version is %.60q: want %s %d.%d.%d or later", version, d.title, d.oldest[0], d.oldest[1], d.oldest[2])
			}
			break
		}
	}
	return ""
}
