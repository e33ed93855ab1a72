package snowflake

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"tributary/connectors"
	"tributary/connectors/table"
)

// place is where the tables are, and how new ones are made.
type place struct {
	database, schema string // as they are
	stage            string // as it stands in statements behind @
	upper            bool
	variant          bool
	clustered        bool
}

// userStage is each user's own.
const userStage = "~"

var (
	plainName  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_$]*$`)
	quotedName = regexp.MustCompile(`^"(?:[^"\x00]|"")+"$`)
)

// identifier is the name that Snowflake makes of what a user writes: https://docs.snowflake.com/en/sql-reference/identifiers-syntax. What can't be a plain
// name is taken as it is.
func identifier(what, written string) (string, error) {
	name := written
	switch {
	case plainName.MatchString(written):
		name = strings.ToUpper(written)
	case quotedName.MatchString(written):
		name = strings.ReplaceAll(written[1:len(written)-1], `""`, `"`)
	}
	if name == "" || utf8.RuneCountInString(name) > maxName || strings.ContainsFunc(name, unicode.IsControl) {
		return "", connectors.Errorf(connectors.Invalid, "settings", "%s: want a name of at most %d characters", what, maxName)
	}
	return name, nil
}

func (s Settings) place() (place, error) {
	p := place{upper: s.Names != "exact", variant: s.JSON != "string", clustered: s.Cluster != "none", stage: userStage}
	invalid := func(format string, args ...any) (place, error) {
		return place{}, connectors.Errorf(connectors.Invalid, "settings", format, args...)
	}
	switch {
	case s.Database == "":
		return invalid("database is missing")
	case s.Names != "" && s.Names != "upper" && s.Names != "exact":
		return invalid("names: want upper or exact")
	case s.JSON != "" && s.JSON != "variant" && s.JSON != "string":
		return invalid("json: want variant or string")
	case s.Cluster != "" && s.Cluster != "day" && s.Cluster != "none":
		return invalid("cluster: want day or none")
	}
	var err error
	if p.database, err = identifier("database", s.Database); err != nil {
		return p, err
	}
	if s.Schema == "" {
		s.Schema = "PUBLIC"
	}
	if p.schema, err = identifier("schema", s.Schema); err != nil {
		return p, err
	}
	if s.Stage == "" {
		return p, nil
	}
	parts := stageParts.FindAllString(strings.TrimPrefix(s.Stage, "@"), -1)
	if strings.Join(parts, ".") != strings.TrimPrefix(s.Stage, "@") || len(parts) > 3 {
		return invalid("stage: want the name of a stage, such as LOADS.PUBLIC.TRIBUTARY")
	}
	names := []string{p.database, p.schema}[:max(0, 3-len(parts))]
	for _, part := range parts {
		name, err := identifier("stage", part)
		if err != nil {
			return p, err
		}
		names = append(names, name)
	}
	if len(parts) == 2 { // of the database
		names = append([]string{p.database}, names[1:]...)
	}
	for i := range names {
		names[i] = quote(names[i])
	}
	p.stage = strings.Join(names, ".")
	return p, nil
}

var stageParts = regexp.MustCompile(`"(?:[^"]|"")+"|[^."]+`)

// quote makes an identifier of a name.
func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// literal is a text in a statement. Backslashes escape there: https://docs.snowflake.com/en/sql-reference/data-types-text#single-quoted-string-constants
func literal(text string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, "'", `\'`).Replace(text) + "'"
}

// named is a name of a table or a column of ours in the case that the block asks for.
func (p place) named(name string) string {
	if p.upper {
		return strings.ToUpper(name)
	}
	return name
}

// column is the identifier of a column of ours.
func (p place) column(name string) string { return quote(p.named(name)) }

// columns are the identifiers of columns of ours, separated by commas.
func (p place) columns(names []string) string {
	var list []string
	for _, name := range names {
		list = append(list, p.column(name))
	}
	return strings.Join(list, ", ")
}

func (p place) schemaName() string { return quote(p.database) + "." + quote(p.schema) }

// own is the identifier of a table of the schema.
func (p place) own(name string) string { return p.schemaName() + "." + quote(p.tableName(name)) }

// tableName is how a table is called. It need not keep names apart: every row has its stream.
func (p place) tableName(name string) string { return p.named(spell(name)) }

func spell(name string) string {
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, name)
}

// folder is where the files of a lane pass through.
func (p place) folder(b *connectors.Batch) string {
	return "tributary/" + digest(p.own(table.Ledger), b.Epoch, b.Lane)
}

// digest is a name made of parts, none of which may run into the next.
func digest(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write([]byte(p))
		h.Write([]byte{0})
	}
	return hex.EncodeToString(h.Sum(nil))[:32]
}
