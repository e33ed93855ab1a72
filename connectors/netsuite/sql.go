package netsuite

import (
	"fmt"
	"strings"
)

// changedColumn is the column with the time of the change as text, which every query adds to what it selects.
const changedColumn = "tributary_changed"

// table is what a query reads: rows with a whole number that identifies them and a date and time of their change.
type table struct {
	from        string // a table's name, or a query in parentheses
	id, changed string // columns
	filter      string // a condition, or ""
}

// sql is the query for the first rows behind a place, at most limit of them. It is cut to that by ROWNUM around the sorted rows, and sorted again
// because nothing else promises an order: https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_157960586441.html
func (t table) sql(p place, limit int) string {
	wall := fmt.Sprintf("TO_CHAR(%s, '%s')", t.changed, format)
	where := []string{t.changed + " IS NOT NULL"}
	if t.filter != "" {
		where = append(where, t.filter)
	}
	if p.At != "" {
		// The first condition is for the database, which may have an index on the column; the others decide. It reaches far back, because NetSuite
		// does not say that it compares times in the zone in which it writes them.
		where = append(where, fmt.Sprintf("%s >= TO_DATE('%s', '%s')", t.changed, below(p.At), format))
		if p.ID == "" {
			where = append(where, fmt.Sprintf("%s >= '%s'", wall, p.At))
		} else {
			where = append(where, fmt.Sprintf("(%s > '%s' OR (%s = '%s' AND %s > %s))", wall, p.At, wall, p.At, t.id, p.ID))
		}
	}
	return fmt.Sprintf("SELECT * FROM (SELECT *, %s AS %s FROM %s WHERE %s ORDER BY %s, %s) WHERE ROWNUM <= %d ORDER BY %s, %s",
		wall, changedColumn, t.from, strings.Join(where, " AND "), wall, t.id, limit, changedColumn, t.id)
}
