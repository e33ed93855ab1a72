package bigquery

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"tributary/connectors"
)

// dataset is where the tables are, and how new ones are made.
type dataset struct {
	project, name   string
	partition, json string
}

var (
	projectRule = regexp.MustCompile(`^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,61}[a-z0-9]$`)
	datasetRule = regexp.MustCompile(`^[A-Za-z0-9_]{1,1000}$`)
)

// fill sets what the settings leave out, and refuses what is no name: names stand in paths and statements.
func (d *dataset) fill() error {
	if d.partition == "" {
		d.partition = "DAY"
	}
	if d.json == "" {
		d.json = "JSON"
	}
	switch {
	case !projectRule.MatchString(d.project):
		return connectors.Errorf(connectors.Invalid, "settings", "project: want the ID of a project, such as my-company-data, here or in the connection")
	case !datasetRule.MatchString(d.name):
		return connectors.Errorf(connectors.Invalid, "settings", "dataset: want a name of letters, digits and underscores")
	case !slices.Contains([]string{"HOUR", "DAY", "MONTH", "YEAR", "NONE"}, d.partition):
		return connectors.Errorf(connectors.Invalid, "settings", "partition: want hour, day, month, year or none")
	case d.json != "JSON" && d.json != "STRING":
		return connectors.Errorf(connectors.Invalid, "settings", "json: want json or string")
	}
	return nil
}

// own quotes the name of a table of the dataset for a statement.
func (d dataset) own(tableID string) string {
	return "`" + d.project + "." + d.name + "." + tableID + "`"
}

// path names a table for the Storage Write API.
func (d dataset) path(tableID string) string {
	return "projects/" + d.project + "/datasets/" + d.name + "/tables/" + tableID
}

// quoted is a column's name in a statement. Names have no backtick: see spellColumn.
func quoted(column string) string { return "`" + column + "`" }

// tableID is the name that BigQuery takes for a table: letters, marks, digits, connectors, dashes and spaces
// (https://cloud.google.com/bigquery/docs/tables#table_naming). Others become underscores, and a hash keeps apart what was different.
func tableID(name string) string {
	spelled := strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.Pc, unicode.Pd) || r == ' ' {
			return r
		}
		return '_'
	}, name)
	if spelled == name && strings.TrimSpace(name) == name {
		return name
	}
	return strings.TrimSpace(connectors.Clip(spelled, 900)) + "_" + digest(name)[:8]
}

// spellColumn makes a name that BigQuery takes for a column: https://cloud.google.com/bigquery/docs/schemas#flexible-column-names. It
// forbids some characters and beginnings, and 300 characters are the longest.
func spellColumn(field string) string {
	name := strings.Map(func(r rune) rune {
		if unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.Pc, unicode.Pd) || strings.ContainsRune("&%=+:'<>#| ", r) {
			return r
		}
		return '_'
	}, field)
	if strings.TrimSpace(name) != name {
		name = strings.ReplaceAll(name, " ", "_")
	}
	if slices.ContainsFunc(reservedPrefixes, func(p string) bool { return strings.HasPrefix(strings.ToLower(name), p) }) {
		return "field" + name
	}
	return name
}

// reservedPrefixes are those of columns that BigQuery has for itself: https://cloud.google.com/bigquery/docs/schemas#column_names
var reservedPrefixes = []string{"_table_", "_file_", "_partition", "_row_timestamp", "__root__", "_colidentifier", "_change_sequence_number", "_change_type"}

func reservedColumn(name string) bool {
	name = strings.ToLower(name)
	return name == epochColumn || name == laneColumn || name == "data"
}

// digest is a name made of parts, none of which may run into the next.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))[:40]
}
