package snowflaketest

import (
	"context"
	"database/sql"
	"fmt"
	"regexp"
	"slices"
	"time"
)

// answerData is the answer to a statement: https://github.com/snowflakedb/gosnowflake/blob/v2.1.0/query.go
type answerData struct {
	QueryID           string         `json:"queryId"`
	RowType           []rowType      `json:"rowtype"`
	RowSet            [][]*string    `json:"rowset"`
	Total             int            `json:"total"`
	Returned          int            `json:"returned"`
	QueryResultFormat string         `json:"queryResultFormat"`
	StatementTypeID   int64          `json:"statementTypeId"`
	Command           string         `json:"command,omitempty"`
	SrcLocations      []string       `json:"src_locations,omitempty"`
	SourceCompression string         `json:"sourceCompression,omitempty"`
	AutoCompress      bool           `json:"autoCompress"`
	Overwrite         bool           `json:"overwrite"`
	Parallel          int            `json:"parallel,omitempty"`
	StageInfo         map[string]any `json:"stageInfo,omitempty"`
}

type rowType struct {
	Name     string `json:"name"`
	Type     string `json:"type"`
	Nullable bool   `json:"nullable"`
}

// Types of statements: https://github.com/snowflakedb/gosnowflake/blob/v2.1.0/connection.go
const (
	typeSelect, typeInsert, typeDelete, typeMerge = 0x1000, 0x3100, 0x3300, 0x3400
	typeCopy, typeDDL, typeShow, typeTransaction  = 0x3800, 0x6000, 0x4000, 0x5000
)

func answer(kind int64, names []string, rows [][]*string) *answerData {
	a := &answerData{RowSet: rows, Total: len(rows), Returned: len(rows), QueryResultFormat: "json", StatementTypeID: kind}
	if a.RowSet == nil {
		a.RowSet = [][]*string{}
	}
	for _, n := range names {
		a.RowType = append(a.RowType, rowType{n, "text", true})
	}
	return a
}

func row(values ...string) []*string {
	var r []*string
	for i := range values {
		r = append(r, &values[i])
	}
	return r
}

func done(kind int64) *answerData {
	return answer(kind, []string{"status"}, [][]*string{row("Statement executed successfully.")})
}

// Shapes of the statements that the server knows: names are I, texts S.
const (
	tableShape = `I \. I \. I`
	typeShape  = `(?:VARCHAR|VARIANT|BOOLEAN|DATE|FLOAT|TIMESTAMP_(?:TZ|NTZ|LTZ)(?: \( \d+ \))?|NUMBER \( \d+ , \d+ \)|VARCHAR \( \d+ \))`
	lineShape  = `I : I :: VARCHAR`
	valueShape = `(?:PARSE_JSON \( ` + lineShape + ` , S \)|I : I :: ` + typeShape + `(?: :: ` + typeShape + `){0,2})`
	stageShape = `\( SELECT ` + valueShape + ` AS I(?: , ` + valueShape + ` AS I)* FROM ` + tableShape + ` WHERE ` + lineShape + ` = \? AND TO_VARCHAR \( CURRENT_TRANSACTION \( \) \) = \? \)`
	namesShape = `I(?: , I)*`
)

// statement is a kind of statement that the server knows.
type statement struct {
	shape *regexp.Regexp
	run   func(*Server, context.Context, *session, []token, *request, string) (*answerData, *Error)
}

var statements []statement

func init() { // run refers to statements
	for shape, run := range map[string]func(*Server, context.Context, *session, []token, *request, string) (*answerData, *Error){
		`BEGIN TRANSACTION`: (*Server).begin,
		`COMMIT|ROLLBACK`:   (*Server).endTransaction,
		`CREATE TABLE IF NOT EXISTS ` + tableShape + ` \( I ` + typeShape + `(?: NOT NULL)?(?: , I ` + typeShape + `(?: NOT NULL)?)* \)(?: CLUSTER BY \( TO_DATE \( I \) \))?`: (*Server).createTable,
		`CREATE TEMPORARY TABLE IF NOT EXISTS ` + tableShape + ` \( I VARIANT \)`:                                                                                              (*Server).createTable,
		`CREATE SCHEMA IF NOT EXISTS I \. I`: (*Server).createSchema,
		`ALTER TABLE ` + tableShape + ` ADD COLUMN I ` + typeShape + `(?: NOT NULL)?(?: , I ` + typeShape + `)*`: (*Server).addColumns,
		`DESCRIBE TABLE ` + tableShape: (*Server).describe,
		`DESCRIBE STAGE ` + tableShape: (*Server).describeStage,
		`SHOW SCHEMAS IN DATABASE I`:   (*Server).showSchemas,
		// What tests ask of Snowflake itself.
		`SHOW TABLES IN SCHEMA I \. I`:                                             (*Server).showTables,
		`DROP SCHEMA IF EXISTS I \. I`:                                             (*Server).dropSchema,
		`SELECT I(?: , I)* FROM ` + tableShape:                                     (*Server).selects,
		`PUT S S AUTO_COMPRESS = FALSE SOURCE_COMPRESSION = GZIP OVERWRITE = TRUE`: (*Server).putCommand,
		`COPY INTO ` + tableShape + ` FROM S FILES = \( S \) FILE_FORMAT = \( TYPE = JSON COMPRESSION = GZIP STRIP_OUTER_ARRAY = FALSE NULL_IF = \( \) \) ON_ERROR = ABORT_STATEMENT FORCE = TRUE`: (*Server).copyInto,
		`(?:REMOVE|LIST) S`: (*Server).listFiles,
		`SELECT COUNT \( \* \) FROM TABLE \( GENERATOR \( ROWCOUNT => 1 \) \)`:                                                                                                                 (*Server).selects,
		`SELECT MAX \( I \)(?: , TO_VARCHAR \( CURRENT_TRANSACTION \( \) \))? FROM ` + tableShape + ` WHERE I = \? AND I = \?`:                                                                 (*Server).selects,
		`SELECT I , I FROM ` + tableShape + ` WHERE I = \? AND I = \? AND I >= \? AND I < \?`:                                                                                                  (*Server).selects,
		`SELECT I , I , I , I FROM ` + tableShape + ` WHERE I = \? ORDER BY 1`:                                                                                                                 (*Server).selects,
		`SELECT PRIVILEGE_TYPE FROM I \. INFORMATION_SCHEMA \. OBJECT_PRIVILEGES WHERE OBJECT_TYPE = \? AND OBJECT_NAME = \? AND IS_ROLE_IN_SESSION \( GRANTEE \)(?: AND OBJECT_SCHEMA = \?)?`: (*Server).privileges,
		`DELETE FROM ` + tableShape + `(?: WHERE I = \?(?: AND I = \? AND I < \?)?)?`:                                                                                                          (*Server).changes,
		`INSERT INTO ` + tableShape + ` \( ` + namesShape + ` \) SELECT \? , \? , r \. I , r \. I FROM ` + stageShape + ` AS r`:                                                                (*Server).changes,
		// What loads by hand do in the place of MERGE.
		`INSERT INTO ` + tableShape + ` \( ` + namesShape + ` \) SELECT ` + valueShape + `(?: , ` + valueShape + `)* FROM ` + tableShape: (*Server).changes,
		`MERGE INTO ` + tableShape + ` AS t USING ` + stageShape + ` AS r ON t \. I = \? AND t \. I = r \. I AND t \. I = r \. I(?: AND \( t \. I <> S OR t \. I = r \. I \))?` +
			`(?: WHEN MATCHED AND \( r \. I = 0 OR r \. I > t \. I OR \( r \. I = t \. I AND t \. I = t \. I \) \) THEN UPDATE SET I = (?:r \. I|GREATEST \( t \. I , r \. I \))(?: , I = (?:r \. I|GREATEST \( t \. I , r \. I \)))*)?` +
			` WHEN NOT MATCHED THEN INSERT \( ` + namesShape + ` \) VALUES \( \?(?: , r \. I)* \)`: (*Server).changes,
		`MERGE INTO ` + tableShape + ` AS t USING \( SELECT \? AS I(?: , \? AS I)*(?: UNION ALL SELECT \? AS I(?: , \? AS I)*)* \) AS r ON t \. I = r \. I AND t \. I = r \. I` +
			` WHEN NOT MATCHED THEN INSERT \( ` + namesShape + ` \) VALUES \( r \. I(?: , r \. I)* \)`: (*Server).changes,
		`MERGE INTO ` + tableShape + ` AS t USING \( SELECT \? AS I , \? AS I , \? :: NUMBER \( 38 , 0 \) AS I , \? :: NUMBER \( 38 , 0 \) AS I WHERE TO_VARCHAR \( CURRENT_TRANSACTION \( \) \) = \? \) AS r ON t \. I = r \. I AND t \. I = r \. I` +
			` WHEN MATCHED AND t \. I = r \. I THEN UPDATE SET I = r \. I , I = CURRENT_TIMESTAMP \( \) WHEN NOT MATCHED AND r \. I = 0 THEN INSERT \( ` + namesShape + ` \) VALUES \( r \. I , r \. I , r \. I , CURRENT_TIMESTAMP \( \) \)`: (*Server).changes,
	} {
		statements = append(statements, statement{regexp.MustCompile(`^(?:` + shape + `)$`), run})
	}
}

// execute runs a statement in a session.
func (s *Server) execute(ctx context.Context, session *session, r *request, base string) (*answerData, *Error) {
	st := &session.state
	st.mu.Lock()
	defer func() {
		st.since = time.Now()
		st.mu.Unlock()
	}()
	if e := s.answers(r.SQLText); e != nil {
		return nil, s.broken(session, e)
	}
	tokens, e := scan(r.SQLText)
	if e != nil {
		return nil, e
	}
	text := shape(tokens)
	for _, known := range statements {
		if !known.shape.MatchString(text) {
			continue
		}
		if st.failed && text != "ROLLBACK" {
			return nil, &Error{"090232", "25000", "Transaction was aborted; only ROLLBACK is possible"}
		}
		a, e := known.run(s, ctx, session, tokens, r, base)
		if e != nil {
			e = s.broken(session, e)
		}
		return a, e
	}
	return nil, s.broken(session, fail(syntax, "SQL compilation error: syntax error; the test server does not know this statement: %.2000s", text))
}

// broken notes that a statement of a transaction has failed: see the parameter TRANSACTION_ABORT_ON_ERROR.
func (s *Server) broken(session *session, e *Error) *Error {
	st := &session.state
	if st.tx != "" && st.abortOnError {
		_ = s.finish(session, "ROLLBACK")
		st.tx, st.failed = "aborted", true
	} else if st.writing && st.tx == "" {
		_ = s.finish(session, "ROLLBACK")
	}
	return e
}

func (s *Server) need(privilege, object string) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.denied[privilege] {
		return fail(noRight, "SQL access control error: Insufficient privileges to operate on %s", object)
	}
	return nil
}

func (s *Server) needWarehouse(session *session) *Error {
	if session.warehouse == "" {
		return fail(noWarehouse, "No active warehouse selected in the current session. Select an active warehouse with the 'use warehouse' command.")
	}
	return s.need("USAGE ON WAREHOUSE", "warehouse")
}

func (s *Server) begin(_ context.Context, session *session, _ []token, _ *request, _ string) (*answerData, *Error) {
	if session.state.tx == "" {
		session.state.tx = fmt.Sprint(time.Now().UnixNano()) + itoa(s.number())
	}
	return done(typeTransaction), nil
}

func (s *Server) endTransaction(_ context.Context, session *session, tokens []token, _ *request, _ string) (*answerData, *Error) {
	if err := s.finish(session, tokens[0].text); err != nil {
		return nil, fail(internalError, "%v", err)
	}
	return done(typeTransaction), nil
}

// ddl commits what is open and begins to write.
func (s *Server) ddl(ctx context.Context, session *session) *Error {
	if err := s.finish(session, "COMMIT"); err != nil {
		return fail(internalError, "%v", err)
	}
	return s.write(ctx, session)
}

// find looks a table up by the tokens of its name.
func (s *Server) find(session *session, tokens []token) (*stored, *Error) {
	full := fullName(tokens[0].text, tokens[2].text, tokens[4].text)
	if t := session.state.temps[full]; t != nil {
		return t, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.tables[full]; t != nil && tokens[0].text == Database && s.schemas[tokens[2].text] {
		return t, nil
	}
	return nil, fail(missing, "SQL compilation error: Object '%s' does not exist or not authorized.", full)
}

func (s *Server) inSchema(tokens []token) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tokens[0].text != Database || !s.schemas[tokens[2].text] {
		return fail(missing, "SQL compilation error: Schema '%s.%s' does not exist or not authorized.", tokens[0].text, tokens[2].text)
	}
	return nil
}

// autocommit ends a statement outside a transaction.
func (s *Server) autocommit(session *session) *Error {
	if session.state.tx != "" {
		return nil
	}
	if err := s.finish(session, "COMMIT"); err != nil {
		return fail(internalError, "%v", err)
	}
	return nil
}

func (s *Server) selects(ctx context.Context, session *session, tokens []token, r *request, _ string) (*answerData, *Error) {
	if e := s.needWarehouse(session); e != nil {
		return nil, e
	}
	if tokens[1].text == "COUNT" {
		return answer(typeSelect, []string{"COUNT(*)"}, [][]*string{row("1")}), nil
	}
	if e := s.need("SELECT", "table"); e != nil {
		return nil, e
	}
	text, e := s.translate(session, tokens, r)
	if e != nil {
		return nil, e
	}
	rows, err := session.state.conn.QueryContext(ctx, "SELECT CAST(COLUMNS(*) AS VARCHAR) FROM ("+text+")")
	if err != nil {
		return nil, explain(ctx, err)
	}
	defer rows.Close()
	names, err := rows.Columns()
	if err != nil {
		return nil, explain(ctx, err)
	}
	for i := range names {
		names[i] = decoded(names[i])
	}
	all := [][]*string{}
	for rows.Next() {
		values, into := make([]sql.NullString, len(names)), make([]any, len(names))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, explain(ctx, err)
		}
		r := make([]*string, len(names))
		for i := range values {
			if values[i].Valid {
				r[i] = &values[i].String
			}
		}
		all = append(all, r)
	}
	if err := rows.Err(); err != nil {
		return nil, explain(ctx, err)
	}
	return answer(typeSelect, names, all), nil
}

func (s *Server) privileges(_ context.Context, session *session, tokens []token, r *request, _ string) (*answerData, *Error) {
	if e := s.needWarehouse(session); e != nil {
		return nil, e
	}
	all := map[string][]string{"DATABASE": {"USAGE", "CREATE SCHEMA"}, "SCHEMA": {"USAGE", "CREATE TABLE"}, "TABLE": {"SELECT", "INSERT", "UPDATE", "DELETE", "OWNERSHIP"}}
	s.mu.Lock()
	defer s.mu.Unlock()
	var rows [][]*string
	for _, p := range all[*r.Bindings["1"].Value] {
		// Who owns a table may do everything with it: it is not the owner's where something is denied.
		if !s.denied[p] && (p != "OWNERSHIP" || !s.denied["SELECT"] && !s.denied["INSERT"] && !s.denied["UPDATE"] && !s.denied["DELETE"]) {
			rows = append(rows, row(p))
		}
	}
	return answer(typeSelect, []string{"PRIVILEGE_TYPE"}, rows), nil
}

// keyless is the condition by which events about no object are told apart. As an equality the engine can hash by it: otherwise it compares each row with each.
var keyless = regexp.MustCompile(`\( t \. (\S+) <> '' OR t \. (\S+) = r \. \S+ \)`)

// changes runs INSERT, DELETE and MERGE.
func (s *Server) changes(ctx context.Context, session *session, tokens []token, r *request, _ string) (*answerData, *Error) {
	if e := s.needWarehouse(session); e != nil {
		return nil, e
	}
	kind, names, rights := int64(typeInsert), []string{"number of rows inserted"}, []string{"INSERT"}
	switch tokens[0].text {
	case "DELETE":
		kind, names, rights = typeDelete, []string{"number of rows deleted"}, []string{"DELETE"}
	case "MERGE":
		kind = typeMerge
		if slices.ContainsFunc(tokens, func(t token) bool { return t.kind == 'w' && t.text == "UPDATE" }) {
			rights = append(rights, "UPDATE")
		}
	}
	t, e := s.find(session, tokens[2:7])
	if e != nil {
		return nil, e
	}
	for _, right := range rights {
		if e := s.need(right, "table '"+t.shown+"'"); e != nil && !t.temp {
			return nil, e
		}
	}
	if e := s.write(ctx, session); e != nil {
		return nil, e
	}
	text, e := s.translate(session, tokens, r)
	if e != nil {
		return nil, e
	}
	text = keyless.ReplaceAllString(text, "if(t . $1 = '', t . $2, '') = if(r . $1 = '', r . $2, '')")
	result, err := session.state.conn.ExecContext(ctx, text)
	if err != nil {
		return nil, explain(ctx, err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return nil, explain(ctx, err)
	}
	if e := tooLongIn(ctx, session, t); e != nil {
		return nil, e
	}
	if e := s.autocommit(session); e != nil {
		return nil, e
	}
	return answer(kind, names, [][]*string{row(itoa(n))}), nil
}

// tooLongIn looks for texts that are longer than their columns, which the engine does not.
func tooLongIn(ctx context.Context, session *session, t *stored) *Error {
	for _, c := range t.columns {
		m := varcharType.FindStringSubmatch(c.kind)
		if m == nil {
			continue
		}
		var longest sql.NullString
		if err := session.state.conn.QueryRowContext(ctx, "SELECT MAX("+encoded(c.name)+") FROM "+t.name+" WHERE LENGTH("+encoded(c.name)+") > "+m[1]).Scan(&longest); err != nil {
			return explain(ctx, err)
		}
		if longest.Valid {
			return fail(tooLong, "String '%s' is too long and would be truncated", longest.String)
		}
	}
	return nil
}
