package netsuitetest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

func (s *Server) suiteql(w http.ResponseWriter, r *http.Request) {
	f := s.failed()
	if f == nil {
		f = s.login(r)
	}
	if f != nil {
		s.refuse(w, f)
		return
	}
	if !s.enter() {
		s.refuse(w, &failure{status: http.StatusTooManyRequests, code: "CONCURRENCY_LIMIT_EXCEEDED", detail: "Concurrent request limit exceeded. Request blocked."})
		return
	}
	defer s.leave()
	s.mu.Lock()
	entered := s.entered
	s.mu.Unlock()
	if entered != nil {
		entered()
	}
	query, limit, offset, f := request(r)
	if f == nil {
		var a *answer
		if a, f = s.run(query, limit, offset); f == nil {
			a.write(w, r, limit, offset)
			return
		}
	}
	s.refuse(w, f)
}

// request reads a request: only POST, only these parameters, `Prefer: transient`, and a body {"q": ...} and nothing else.
func request(r *http.Request) (query string, limit, offset int, f *failure) {
	if r.Method != http.MethodPost {
		return "", 0, 0, &failure{status: http.StatusMethodNotAllowed, code: "METHOD_NOT_ALLOWED", detail: "The method is not allowed."}
	}
	if !strings.Contains(r.Header.Get("Prefer"), "transient") {
		return "", 0, 0, &failure{status: http.StatusBadRequest, code: "INVALID_HEADER", head: "Prefer",
			detail: "Missing or invalid required header Prefer. The required value is 'transient'."}
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		return "", 0, 0, &failure{status: http.StatusUnsupportedMediaType, code: "INVALID_HEADER", head: "Content-Type", detail: "Unsupported media type."}
	}
	limit, offset = 1000, 0
	for name, values := range r.URL.Query() {
		n, err := strconv.Atoi(values[0])
		switch {
		case len(values) != 1, name != "limit" && name != "offset":
			return "", 0, 0, parameter(name, "Invalid query parameter name %s.", name)
		case name == "limit" && (err != nil || n < 1 || n > 1000):
			return "", 0, 0, parameter(name, "The limit must be a number between 1 and 1000.")
		case name == "offset" && (err != nil || n < 0):
			return "", 0, 0, parameter(name, "The offset must be a number greater than or equal to 0.")
		case name == "limit":
			limit = n
		default:
			offset = n
		}
	}
	if offset%limit != 0 {
		return "", 0, 0, parameter("offset", "The offset must be divisible by the limit.")
	}
	raw, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	var body map[string]json.RawMessage
	if err != nil || json.Unmarshal(raw, &body) != nil || len(body) != 1 || json.Unmarshal(body["q"], &query) != nil {
		return "", 0, 0, &failure{status: http.StatusBadRequest, code: "INVALID_CONTENT", detail: "Invalid content in the request body: a query in q is required."}
	}
	return query, limit, offset, nil
}

func parameter(name, format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, code: "INVALID_PARAMETER", query: name, detail: fmt.Sprintf(format, args...)}
}

// searchError is how the vendor words what is wrong with a query.
func searchError(format string, args ...any) *failure {
	return parameter("q", "Invalid search query. Detailed unprocessed description follows. Search error occurred: "+format, args...)
}

// answer is a page of a result.
type answer struct {
	items []string
	total int
}

func (s *Server) run(query string, limit, offset int) (*answer, *failure) {
	statement, tables, f := translate(query)
	if f != nil {
		return nil, f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range tables {
		if s.hidden[t] {
			return nil, searchError("Record '%s' was not found.", t)
		}
	}
	s.queries = append(s.queries, query)
	if _, err := s.db.Exec("UPDATE dual SET now = ?", s.wall(s.Now())); err != nil {
		return nil, explain(err)
	}
	rows, err := s.db.Query(statement)
	if err != nil {
		return nil, explain(err)
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return nil, explain(err)
	}
	a := &answer{}
	for rows.Next() {
		values := make([]any, len(columns))
		into := make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := rows.Scan(into...); err != nil {
			return nil, explain(err)
		}
		if a.total++; a.total > offset && a.total <= offset+limit {
			a.items = append(a.items, item(columns, values))
		}
	}
	if err := rows.Err(); err != nil {
		return nil, explain(err)
	}
	s.largest = max(s.largest, a.total)
	if a.total > maxResults {
		return nil, searchError("The query returns more than %d results.", maxResults)
	}
	return a, nil
}

func explain(err error) *failure {
	text := err.Error()
	if _, name, ok := strings.Cut(text, "no such column: "); ok {
		name, _, _ = strings.Cut(name, " ")
		return searchError("Unknown identifier '%s'. Available identifiers are: {}", name)
	}
	if _, name, ok := strings.Cut(text, "no such table: "); ok {
		name, _, _ = strings.Cut(name, " ")
		return searchError("Record '%s' was not found.", name)
	}
	return searchError("Invalid or unsupported search.")
}

// item spells a row as the vendor does: texts, dates without their time, nothing for what is empty. The spaces and escapes are ours: they would not
// survive decoding and encoding.
func item(columns []string, values []any) string {
	fields := []string{`"links": [ ]`}
	var seen []string
	for i, name := range columns {
		if values[i] == nil || slices.Contains(seen, name) {
			continue
		}
		seen = append(seen, name)
		text := fmt.Sprint(values[i])
		if slices.Contains(dates, name) {
			at, _ := time.Parse(time.DateTime, text)
			text = at.Format("1/2/2006")
		}
		fields = append(fields, strconv.QuoteToASCII(strings.ToLower(name))+": "+strconv.QuoteToASCII(text))
	}
	return "{ " + strings.Join(fields, ",") + " }"
}

func (a *answer) write(w http.ResponseWriter, r *http.Request, limit, offset int) {
	self := "https://" + Host + r.URL.Path
	w.Header().Set("Content-Type", "application/vnd.oracle.resource+json; type=collection; charset=UTF-8")
	_, _ = fmt.Fprintf(w, `{"links":[{"rel":"self","href":"%s?limit=%d&offset=%d"}],"count":%d,"hasMore":%t,"items":[%s],"offset":%d,"totalResults":%d}`,
		self, limit, offset, len(a.items), offset+len(a.items) < a.total, strings.Join(a.items, ","), offset, a.total)
}
