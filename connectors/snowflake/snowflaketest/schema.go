package snowflaketest

import (
	"context"
	"slices"
	"strings"
)

// definitions reads columns from tokens, up to a closing parenthesis or the end.
func definitions(tokens []token) (columns []*storedColumn) {
	for i := 0; i < len(tokens) && tokens[i].text != ")"; i++ {
		c := &storedColumn{name: tokens[i].text}
		for i++; i < len(tokens) && tokens[i].text != "," && tokens[i].text != ")"; i++ {
			switch {
			case tokens[i].text == "NOT":
				c.required = true
				i++
			case tokens[i].text == "(":
				for ; tokens[i].text != ")"; i++ {
					c.kind += tokens[i].text
				}
				c.kind += ")"
			default:
				c.kind += tokens[i].text
			}
		}
		columns = append(columns, c)
		if i < len(tokens) && tokens[i].text == ")" {
			break
		}
	}
	return columns
}

func (s *Server) createTable(ctx context.Context, session *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	temporary := tokens[1].text == "TEMPORARY"
	at := 5
	if temporary {
		at = 6
	}
	name := tokens[at : at+5]
	if e := s.inSchema(name); e != nil {
		return nil, e
	}
	if t, _ := s.find(session, name); t != nil && t.temp == temporary {
		return done(typeDDL), nil
	}
	if !temporary {
		if e := s.need("CREATE TABLE", "schema '"+name[2].text+"'"); e != nil {
			return nil, e
		}
	}
	if e := s.ddl(ctx, session); e != nil {
		return nil, e
	}
	t := &stored{shown: name[4].text, name: "t" + itoa(s.number()), columns: definitions(tokens[at+6:]), temp: temporary, loaded: make(map[string]bool)}
	if i := slices.IndexFunc(tokens, func(t token) bool { return t.kind == 'w' && t.text == "CLUSTER" }); i >= 0 {
		t.cluster = "TO_DATE(" + tokens[i+5].text + ")"
	}
	lines := []string{}
	for _, c := range t.columns {
		kind, ok := engineType(c.kind)
		if !ok || slices.ContainsFunc(t.columns, func(o *storedColumn) bool { return o != c && o.name == c.name }) {
			return nil, fail(syntax, "SQL compilation error: Unsupported data type '%s' or duplicate column '%s'.", c.kind, c.name)
		}
		line := encoded(c.name) + " " + kind
		if c.kind == "VARCHAR" && s.collation != "" {
			c.collation = s.collation
			line += " COLLATE NOCASE"
		}
		if c.required {
			line += " NOT NULL"
		}
		lines = append(lines, line)
	}
	create := "CREATE TABLE "
	if temporary {
		create = "CREATE TEMP TABLE "
	}
	if _, err := session.state.conn.ExecContext(ctx, create+t.name+" ("+strings.Join(lines, ", ")+")"); err != nil {
		return nil, fail(internalError, "%v", err)
	}
	if err := s.finish(session, "COMMIT"); err != nil {
		return nil, fail(internalError, "%v", err)
	}
	full := fullName(name[0].text, name[2].text, name[4].text)
	s.mu.Lock()
	defer s.mu.Unlock()
	if temporary {
		session.state.temps[full] = t
	} else if s.tables[full] == nil { // IF NOT EXISTS of two at once
		s.tables[full] = t
	}
	return done(typeDDL), nil
}

func (s *Server) createSchema(_ context.Context, _ *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	if tokens[5].text != Database {
		return nil, fail(missing, "SQL compilation error: Database '%s' does not exist or not authorized.", tokens[5].text)
	}
	if e := s.need("CREATE SCHEMA", "database '"+Database+"'"); e != nil {
		return nil, e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schemas[tokens[7].text] = true
	return done(typeDDL), nil
}

func (s *Server) addColumns(ctx context.Context, session *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	t, e := s.find(session, tokens[2:7])
	if e == nil {
		e = s.need("OWNERSHIP", "table '"+tokens[6].text+"'")
	}
	if e == nil {
		e = s.ddl(ctx, session)
	}
	if e != nil {
		return nil, e
	}
	add := definitions(tokens[9:])
	s.mu.Lock()
	now := slices.Clone(t.columns)
	s.mu.Unlock()
	for _, c := range add {
		if slices.ContainsFunc(now, func(o *storedColumn) bool { return o.name == c.name }) {
			return nil, fail(columnExists, "SQL compilation error: column '%s' already exists", c.name)
		}
		now = append(now, c)
	}
	for _, c := range add {
		kind, ok := engineType(c.kind)
		if !ok {
			return nil, fail(syntax, "SQL compilation error: Unsupported data type '%s'.", c.kind)
		}
		if _, err := session.state.conn.ExecContext(ctx, "ALTER TABLE "+t.name+" ADD COLUMN "+encoded(c.name)+" "+kind); err != nil {
			return nil, fail(internalError, "%v", err)
		}
	}
	if err := s.finish(session, "COMMIT"); err != nil {
		return nil, fail(internalError, "%v", err)
	}
	s.mu.Lock()
	t.columns = now
	s.mu.Unlock()
	return done(typeDDL), nil
}

func (s *Server) describe(_ context.Context, session *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	t, e := s.find(session, tokens[2:])
	if e != nil {
		return nil, e
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]*string
	for _, c := range t.columns {
		null := "Y"
		if c.required {
			null = "N"
		}
		rows = append(rows, append(row(c.name, c.shown(), "COLUMN", null), nil, row("N")[0], row("N")[0], nil, nil, nil, nil))
	}
	return answer(typeShow, []string{"name", "type", "kind", "null?", "default", "primary key", "unique key", "check", "expression", "comment", "policy name"}, rows), nil
}

func (s *Server) showSchemas(_ context.Context, _ *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	if e := s.need("USAGE ON DATABASE", ""); e != nil || tokens[4].text != Database {
		return nil, fail("002043", "SQL compilation error: Object does not exist, or operation cannot be performed.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]*string
	for name := range s.schemas {
		rows = append(rows, row("2026-11-01 00:00:00", name, "N", "N", Database, Role))
	}
	return answer(typeShow, []string{"created_on", "name", "is_default", "is_current", "database_name", "owner"}, rows), nil
}

// showTables answers as https://docs.snowflake.com/en/sql-reference/sql/show-tables
func (s *Server) showTables(_ context.Context, _ *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	prefix := fullName(tokens[4].text, tokens[6].text) + "."
	var rows [][]*string
	for full, t := range s.tables {
		if strings.HasPrefix(full, prefix) {
			rows = append(rows, row("2026-11-01 00:00:00", t.shown, tokens[4].text, tokens[6].text, "TABLE"))
		}
	}
	return answer(typeShow, []string{"created_on", "name", "database_name", "schema_name", "kind"}, rows), nil
}

func (s *Server) dropSchema(_ context.Context, _ *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.schemas, tokens[6].text)
	for full := range s.tables {
		if strings.HasPrefix(full, fullName(tokens[4].text, tokens[6].text)+".") {
			delete(s.tables, full)
		}
	}
	return done(typeDDL), nil
}
