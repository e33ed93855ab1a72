package mysql_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"tributary/connectors"
	"tributary/connectors/mysql"
)

func TestKindsOfErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		number uint16
		state  string
		kind   connectors.Kind
		row    bool
	}{
		{1045, "28000", connectors.Unauthorized, false},
		{1698, "28000", connectors.Unauthorized, false},
		{3118, "HY000", connectors.Unauthorized, false},
		{1044, "42000", connectors.Forbidden, false},
		{1142, "42000", connectors.Forbidden, false},
		{1049, "42000", connectors.NotFound, false},
		{1226, "42000", connectors.RateLimited, false},
		{1205, "HY000", connectors.Unavailable, false},
		{1213, "40001", connectors.Unavailable, false},
		{1146, "42S02", connectors.Unavailable, false},
		{1040, "08004", connectors.Unavailable, false},
		{1053, "08S01", connectors.Unavailable, false},
		{1290, "HY000", connectors.Unavailable, false},
		{1969, "70100", connectors.Unavailable, false},
		{1114, "HY000", connectors.Unavailable, false},
		{1064, "42000", connectors.Invalid, false},
		{1364, "HY000", connectors.Invalid, false},
		{1048, "23000", connectors.Invalid, true},
		{1406, "22001", connectors.Invalid, true},
		{1366, "HY000", connectors.Invalid, true},
		{1366, "22007", connectors.Invalid, true},
		{1452, "23000", connectors.Invalid, true},
		{1644, "45000", connectors.Invalid, true},
		{3819, "HY000", connectors.Invalid, true},
		{4025, "23000", connectors.Invalid, true},
		{60000, "HY000", connectors.Unknown, false},
	} {
		if kind, row := mysql.KindOf(c.number, c.state); kind != c.kind || row != c.row {
			t.Errorf("%d (%s): %s, in a row: %v; want %s, %v", c.number, c.state, kind, row, c.kind, c.row)
		}
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]string{ // which of the two takes it
		"10.11.19-MariaDB-0+deb12u1": "mariadb", "11.4.2-MariaDB-log": "mariadb", "10.3.39-MariaDB": "", "8.0.19": "mysql", "8.0.18": "", "8.4.0": "mysql", "9.1.0-commercial": "mysql", "5.7.44-log": "", "nonsense": "",
	} {
		for _, of := range []string{"mysql", "mariadb"} {
			if problem := mysql.Fits(of == "mariadb", version); (problem == "") != (of == want) {
				t.Errorf("%s and %s: %q", of, version, problem)
			}
		}
	}
}

// Names that the servers or file systems don't take become others, each its own.
func TestTableNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"orders", "Größe 1", "a.b/c", "注文", strings.Repeat("x", 64)} {
		if got := mysql.TableName(name); got != name {
			t.Errorf("%q became %q", name, got)
		}
	}
	seen := make(map[string]string)
	for _, name := range []string{"😀", "😁", "a ", "a  ", " ", "a\n", "a\r", "#sql-1", "#mysql50#x", strings.Repeat(".", 64), strings.Repeat(".", 63) + ",", strings.Repeat("文", 21), strings.Repeat("x", 63) + " "} {
		got := mysql.TableName(name)
		if got == name && len(name) < 60 || seen[got] != "" || utf8.RuneCountInString(got) > 64 || strings.TrimRight(got, " ") != got || strings.HasPrefix(got, "#") {
			t.Errorf("%q became %q, as %q", name, got, seen[got])
		}
		seen[got] = name
	}
}
