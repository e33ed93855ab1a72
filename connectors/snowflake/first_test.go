package snowflake_test

import (
	"testing"

	"tributary/connectors"
	"tributary/connectors/snowflake/snowflaketest"
)

func TestFirst(t *testing.T) {
	s := snowflaketest.New(t, &returned)
	d := opened(t, s, connectors.Append)
	write(t, d, batch(connectors.Append, "orders", 0, 3))
	t.Log(rows(t, s), s.Files())
	if err := d.(connectors.Checker).Check(t.Context()); err != nil {
		t.Fatal(err)
	}
}
