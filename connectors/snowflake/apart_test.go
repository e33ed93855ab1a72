package snowflake_test

import (
	"testing"

	"tributary/connectors"
	"tributary/connectors/connectortest"
	"tributary/connectors/snowflake"
	"tributary/connectors/snowflake/snowflaketest"
)

// TestStandInApart serves a warehouse to the process that measures the largest batch.
func TestStandInApart(t *testing.T) {
	connectortest.ServeApart(t, func(t *testing.T) connectortest.StandIn {
		s := snowflaketest.New(t, &returned)
		return connectortest.StandIn{
			Where:   []string{s.URL},
			Rows:    func(t *testing.T) []connectortest.Row { return rows(t, s) },
			Columns: func(t *testing.T) []connectortest.Row { return columnRows(t, s) },
		}
	})
}

// placeApart is that warehouse.
func placeApart(t *testing.T, settings snowflake.Settings) connectortest.DestinationPlace {
	standIn := connectortest.StartApart(t)
	c := direct(&snowflaketest.Server{URL: standIn.Where[0]})
	def := snowflake.Definition()
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, mode connectors.Mode) connectors.Destination {
			return open(t, def, c, settings, connectors.Config{Mode: mode})
		},
		Rows: standIn.Rows,
		Columns: &connectortest.ColumnsPlace{
			Open: func(t *testing.T, mode connectors.Mode, rule connectors.SchemaRule) connectors.Destination {
				return open(t, def, c, settings, connectors.Config{Mode: mode, Layout: connectors.LayoutColumns, Schema: rule})
			},
			Rows: standIn.Columns,
		},
	}
}
