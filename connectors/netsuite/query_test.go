package netsuite_test

import (
	"strings"
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/netsuite"
)

func openQuery(t *testing.T, q netsuite.Query) error {
	t.Helper()
	settings := netsuite.Settings{Queries: map[string]netsuite.Query{"mine": q}}
	_, err := netsuite.Definition().OpenSource(connectors.Config{Settings: raw(t, settings), Connection: raw(t, tokenBased())})
	return err
}

func TestQueriesThatCanBeRead(t *testing.T) {
	t.Parallel()
	for _, query := range []string{
		"SELECT id, lastmodifieddate FROM customer",
		"select c.ID, c.LastModifiedDate as lastmodifieddate from customer c where c.entityid = 'a; -- ORDER BY it''s'",
		`SELECT DISTINCT id "ID", NVL(lastmodifieddate, datecreated) lastmodifieddate FROM customer`,
		"SELECT MAX(l.uniquekey) AS id, MAX(l.linelastmodifieddate) AS lastmodifieddate, COUNT(*) n FROM transactionline l GROUP BY l.transaction",
		"SELECT id, lastmodifieddate, (SELECT MAX(id) FROM contact ORDER BY 1) AS x, CASE WHEN id > 1 THEN 1 ELSE 0 END FROM (SELECT * FROM customer UNION ALL SELECT * FROM vendor)",
		"SELECT id, lastmodifieddate, t.order FROM x t",
	} {
		if err := openQuery(t, netsuite.Query{Query: query}); err != nil {
			t.Errorf("%s: %v", query, err)
		}
	}
}

func TestQueriesThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for query, says := range map[string]string{
		"SELECT lastmodifieddate FROM customer":                                       "select the id",
		"SELECT id FROM customer":                                                     "time of the last change",
		"SELECT customer.id + id, lastmodifieddate FROM customer":                     "select the id",
		"SELECT id AS number, lastmodifieddate FROM customer":                         "select the id",
		"SELECT id, TO_CHAR(lastmodifieddate, 'x') AS lastmodifieddate FROM c":        "TO_CHAR",
		"SELECT * FROM customer":                                                      "*",
		"SELECT c.*, id, lastmodifieddate FROM customer c":                            "*",
		"SELECT id, id, lastmodifieddate FROM customer":                               "two columns",
		"SELECT id, lastmodifieddate, 1 AS tributary_changed FROM customer":           "tributary_changed",
		"SELECT id, lastmodifieddate FROM customer ORDER BY id":                       "ORDER",
		"SELECT id, lastmodifieddate FROM customer LIMIT 10":                          "LIMIT",
		"SELECT id, lastmodifieddate FROM customer FETCH FIRST 10 ROWS ONLY":          "FETCH",
		"SELECT id, lastmodifieddate FROM customer OFFSET 10":                         "OFFSET",
		"SELECT TOP 10 id, lastmodifieddate FROM customer":                            "TOP",
		"SELECT id, lastmodifieddate FROM customer WHERE ROWNUM <= 10":                "ROWNUM",
		"SELECT id, lastmodifieddate FROM a UNION SELECT id, lastmodifieddate FROM b": "UNION",
		"SELECT id, lastmodifieddate FROM customer; SELECT 1":                         "semicolon",
		"SELECT id, lastmodifieddate FROM customer -- all":                            "comments",
		"SELECT id, /* all */ lastmodifieddate FROM customer":                         "comments",
		"SELECT id, lastmodifieddate FROM customer) WHERE (1 = 1":                     "parenthesis",
		"SELECT id, lastmodifieddate FROM (SELECT * FROM customer":                    "parenthesis",
		"SELECT id, lastmodifieddate FROM customer WHERE name = 'x":                   "quote",
		"SELECT id, lastmodifieddate FROM customer WHERE id = ?":                      "?",
		"SELECT id, lastmodifieddate":                                                 "FROM",
		"SELECT id,, lastmodifieddate FROM customer":                                  "column is missing",
		"DELETE FROM customer":                                                        "SELECT",
		"WITH x AS (SELECT 1) SELECT id, lastmodifieddate FROM x":                     "SELECT",
		"SELECT id, lastmodifieddate FROM " + strings.Repeat("x", 33<<10):             "32 KiB",
	} {
		err := openQuery(t, netsuite.Query{Query: query})
		connectortest.WantError(t, err, connectors.Invalid, says)
	}
}

func TestSettingsThatCannotWork(t *testing.T) {
	t.Parallel()
	const query = "SELECT id, lastmodifieddate FROM customer"
	for _, q := range []netsuite.Query{
		{Query: query, Record: "customer"}, {Record: "a b"}, {Record: "x", ID: "id; DROP"}, {Record: "x", Changed: "tributary_changed"},
		{Record: "x", Changed: "a'b"}, {Record: "x", Deleted: []string{"it's"}},
	} {
		connectortest.WantError(t, openQuery(t, q), connectors.Invalid, "queries.mine")
	}
	for says, s := range map[string]netsuite.Settings{
		"time_zone": {TimeZone: "Mars/Olympus"}, "zone": {TimeZone: "Local"}, "page_size": {PageSize: 1001}, "1 to 1000": {PageSize: -1},
		"overlap": {Overlap: "25h"}, "duration": {Overlap: "soon"},
	} {
		_, err := netsuite.Definition().OpenSource(connectors.Config{Settings: raw(t, s), Connection: raw(t, tokenBased())})
		connectortest.WantError(t, err, connectors.Invalid, says)
	}
}
