package mysql

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tributary/connectors"
	"tributary/connectors/table"
)

// Names may have 64 characters of the Basic Multilingual Plane, and no blank at the end: https://dev.mysql.com/doc/refman/8.0/en/identifiers.html
const (
	maxName = 64
	// maxFile bounds the name of a table's file, in which each character but letters of ASCII, digits and _ takes up to five bytes: a file system
	// ends names at 255, and the servers add to it. https://dev.mysql.com/doc/refman/8.0/en/identifier-mapping.html
	maxFile = 200
)

// columnsDialect of the columns. DECIMAL has 65 digits. InnoDB keeps up to 40 bytes of each text within a row, which is to fit half a page of 16 KiB:
// https://dev.mysql.com/doc/refman/8.0/en/innodb-limits.html, https://mariadb.com/kb/en/troubleshooting-row-size-too-large-errors-with-innodb/
var columnsDialect = table.Dialect{
	Integer: 35, Fraction: 30, Name: maxName, Columns: 180,
	Spell: spell,
	Fold:  func(name string) string { return strings.ToLower(strings.ToUpper(name)) },
	Reserved: func(name string) bool {
		return slices.ContainsFunc([]string{scopeColumn.name, rowColumn}, func(own string) bool { return strings.EqualFold(name, own) })
	},
	Widens: func(_, to table.Type) bool { return to == table.Decimal },
}

// spell makes a name that the servers take. It does not keep names apart.
func spell(name string) string {
	return strings.TrimRight(strings.Map(func(r rune) rune {
		if r > 0xffff || r == utf8.RuneError || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, name), " ")
}

// tableName is the name of a table in the database. One that has to be changed ends in a hash of what it stands for.
func (s *server) tableName(name string) string {
	if s.fold {
		name = strings.ToLower(name)
	}
	spelled := spell(name)
	if strings.HasPrefix(spelled, "#") { // such names are the servers' own
		spelled = "_" + spelled[1:]
	}
	if spelled == name && fileLength(name) <= maxFile {
		return name
	}
	for fileLength(spelled) > maxFile || len(spelled) > maxName-9 {
		_, size := utf8.DecodeLastRuneInString(spelled)
		spelled = spelled[:len(spelled)-size]
	}
	sum := sha256.Sum256([]byte(name))
	return spelled + "_" + hex.EncodeToString(sum[:4])
}

func fileLength(name string) int {
	n := 0
	for _, r := range name {
		if n++; r != '_' && (r > unicode.MaxASCII || !unicode.IsLetter(r) && !unicode.IsDigit(r)) {
			n += 4
		}
	}
	return n
}

// quote makes an identifier of a name.
func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// scope is what keeps records of one key, or ID, apart: a hash of installation and stream, for events without a key in mode upsert of the ID too. The texts
// themselves would make the unique key longer than the 3,072 bytes that InnoDB allows.
func scope(b *connectors.Batch, r *connectors.Record) string {
	id := ""
	if b.Mode == connectors.ModeUpsert && r.Key == "" {
		id = r.ID
	}
	return connectors.RecordID(b.Installation, r.Stream, int64(len(id)), []byte(id))[:scopeLength]
}
