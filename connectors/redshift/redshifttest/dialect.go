package redshifttest

import (
	"regexp"
	"strings"
)

// refusals are what Redshift does not know of what PostgreSQL does. They are looked for outside of strings and quoted names.
var refusals = []struct {
	words   *regexp.Regexp
	failure Failure
}{
	// https://docs.aws.amazon.com/redshift/latest/dg/r_INSERT_30.html has no such clause.
	{regexp.MustCompile(`(?i)\bON CONFLICT\b`), Failure{"42601", `syntax error at or near "ON"`, ""}},
	{regexp.MustCompile(`(?i)\bRETURNING\b`), Failure{"42601", `syntax error at or near "RETURNING"`, ""}},
	{regexp.MustCompile(`(?i)\bON COMMIT\b`), Failure{"42601", `syntax error at or near "ON"`, ""}},
	// https://docs.aws.amazon.com/redshift/latest/dg/c_unsupported-postgresql-features.html
	{regexp.MustCompile(`(?i)^\s*CREATE\s+(UNIQUE\s+)?INDEX\b`), Failure{"0A000", "SQL command \"CREATE INDEX\" not supported on Redshift tables.", ""}},
	{regexp.MustCompile(`(?i)\bFOR (NO KEY )?(UPDATE|SHARE)\b`), Failure{"0A000", "SELECT FOR UPDATE is not supported", ""}},
	{regexp.MustCompile(`(?i)^\s*(SAVEPOINT|DO|CREATE\s+(DOMAIN|TRIGGER|RULE|TYPE|EXTENSION))\b`), Failure{"0A000", "the command is not supported", ""}},
	{regexp.MustCompile(`(?i)\b(unnest|pg_advisory\w*|set_config|to_json|row_to_json|jsonb?_(agg|array|build|each|object|to|typeof)\w*)\s*\(`), Failure{"42883", "function does not exist", ""}},
	// https://docs.aws.amazon.com/redshift/latest/dg/c_unsupported-postgresql-datatypes.html
	{regexp.MustCompile(`(?i)\b(json|jsonb|bytea|uuid|inet|serial|bigserial|money|xml)\b\s*([,)]|$|NOT\b)`), Failure{"42704", "type does not exist", ""}},
	{regexp.MustCompile(`(?i)\[\s*\]|\bARRAY\s*\[`), Failure{"0A000", "array types are not supported", ""}},
	// PostgreSQL 8.0 has no such strings.
	{regexp.MustCompile(`(?i)(^|[\s(,=])E''`), Failure{"42704", `type "e" does not exist`, ""}},
	// https://docs.aws.amazon.com/redshift/latest/dg/r_ALTER_TABLE.html
	{regexp.MustCompile(`(?is)^\s*ALTER TABLE\b.*\bADD\b.*,\s*ADD\b`), Failure{"42601", `syntax error at or near ","`, ""}},
	{regexp.MustCompile(`(?is)^\s*ALTER TABLE\b.*\bADD COLUMN IF NOT EXISTS\b`), Failure{"42601", `syntax error at or near "NOT"`, ""}},
	{regexp.MustCompile(`(?is)^\s*ALTER TABLE\b.*\bALTER( COLUMN)?\b.*\bTYPE\b.*\bUSING\b`), Failure{"42601", `syntax error at or near "USING"`, ""}},
	{regexp.MustCompile(`(?is)^\s*ALTER TABLE\b.*\bALTER( COLUMN)?\b.*\bTYPE\s+(bool|int|big|small|num|dec|super|time|date|double|real)`), Failure{"0A000", "ALTER COLUMN TYPE is not supported for this column", ""}},
	// The lock of a row, and of another kind than ACCESS EXCLUSIVE: https://docs.aws.amazon.com/redshift/latest/dg/r_LOCK.html
	{regexp.MustCompile(`(?is)^\s*LOCK\b.*\b(IN|NOWAIT)\b`), Failure{"42601", `syntax error at or near "IN"`, ""}},
	{regexp.MustCompile(`(?i)\bstandard_conforming_strings\b`), Failure{"42704", `unrecognized configuration parameter "standard_conforming_strings"`, ""}},
	// The catalog lives on the leader node, users' tables on the others: https://docs.aws.amazon.com/redshift/latest/dg/c_sql-functions-leader-node.html
	{regexp.MustCompile(`(?is)\bpg_(class|attribute|namespace)\b.*\b(JOIN|FROM)\s+""`), Failure{"0A000", "Specified types or functions (one per INFO message) not supported on Redshift tables.", ""}},
}

var (
	// spread is how the rows of a new table lie: https://docs.aws.amazon.com/redshift/latest/dg/r_CREATE_TABLE_NEW.html
	spread = regexp.MustCompile(`(?i)\s+DISTSTYLE (ALL|EVEN|AUTO|KEY)(?: DISTKEY \((\w+)\))?(?:(?: COMPOUND)? SORTKEY \(([\w, ]+)\))?\s*$`)
	// keys are accepted and not enforced.
	keys     = regexp.MustCompile(`(?i)(?:,\s*|\s+)(PRIMARY KEY|UNIQUE)\b(\s*\([^)]*\))?`)
	settings = regexp.MustCompile(`(?i)^\s*SET\s+(enable_case_sensitive_identifier|query_group)\b`)
)

// version is what version() says: https://docs.aws.amazon.com/redshift/latest/dg/r_VERSION.html
const version = "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2 20041017 (Red Hat 3.4.2-6.fc3), Redshift 1.0.77467"

// translate makes a statement of PostgreSQL's from one of Redshift's.
func (s *Server) translate(sql string) (string, *Failure) {
	s.mu.Lock()
	s.statements = append(s.statements, sql)
	fail, version := s.fail, s.version
	s.mu.Unlock()
	if fail != nil {
		if f := fail(sql); f != nil {
			return sql, f
		}
	}
	if len(sql) > 16<<20 { // https://docs.aws.amazon.com/redshift/latest/dg/c_redshift-sql.html
		return sql, &Failure{"54000", "statement is too large", ""}
	}
	sql, bare := fold(sql)
	for _, r := range refusals {
		if r.words.MatchString(bare) {
			return sql, &r.failure
		}
	}
	if strings.HasPrefix(strings.ToUpper(strings.TrimSpace(bare)), "CREATE") {
		if m := spread.FindStringSubmatch(sql); m != nil {
			for _, name := range strings.Split(m[2]+","+m[3], ",") {
				if name = strings.TrimSpace(name); name != "" && !regexp.MustCompile(`(?i)\b`+name+`"?\s+(character varying|varchar|bigint|timestamp)`).MatchString(sql) {
					return sql, &Failure{"42703", `column "` + name + `" can't be a key of distribution or sorting`, ""}
				}
			}
			sql = spread.ReplaceAllString(sql, "")
		}
		sql = keys.ReplaceAllString(sql, "")
	}
	sql = settings.ReplaceAllString(sql, "SET redshift.$1")
	sql = strings.Replace(sql, "version()", "'"+version+"'::varchar AS version", 1)
	sql = strings.ReplaceAll(sql, "current_database()", "current_database()::text")
	return sql, nil
}

// fold makes quoted names lower case, and returns besides the statement without what is in quotes.
func fold(sql string) (folded, bare string) {
	var out, rest strings.Builder
	for i := 0; i < len(sql); i++ {
		c := sql[i]
		out.WriteByte(c)
		rest.WriteByte(c)
		if c != '"' && c != '\'' {
			continue
		}
		for i++; i < len(sql); i++ {
			b := sql[i]
			if c == '"' && 'A' <= b && b <= 'Z' {
				b += 'a' - 'A'
			}
			out.WriteByte(b)
			if c == '\'' && b == '\\' && i+1 < len(sql) {
				i++
				out.WriteByte(sql[i])
				continue
			}
			if sql[i] == c {
				rest.WriteByte(c)
				break
			}
		}
	}
	return out.String(), rest.String()
}
