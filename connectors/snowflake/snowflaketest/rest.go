package snowflaketest

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"tributary/connectors/connectortest/fault"
)

// session is one of a client's.
type session struct {
	state                  sessionState
	id                     int64
	token, master          string
	expired, masterExpired bool
	role, warehouse        string
}

// request is what a client wants run: https://github.com/snowflakedb/gosnowflake/blob/v2.1.0/query.go
type request struct {
	SQLText      string             `json:"sqlText"`
	AsyncExec    bool               `json:"asyncExec"`
	SequenceID   int64              `json:"sequenceId"`
	IsInternal   bool               `json:"isInternal"`
	DescribeOnly bool               `json:"describeOnly"`
	Parameters   map[string]any     `json:"parameters"`
	Bindings     map[string]binding `json:"bindings"`
	BindStage    string             `json:"bindStage"`
	QueryContext json.RawMessage    `json:"queryContextDTO"`
}

type binding struct {
	Type  string  `json:"type"`
	Value *string `json:"value"`
}

// query is a statement that runs or has run.
type query struct {
	id      string
	session *session
	cancel  context.CancelFunc
	done    chan struct{}
	data    *answerData
	err     *Error
}

func (s *Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /session/v1/login-request", s.login)
	mux.HandleFunc("POST /session/token-request", s.renew)
	mux.HandleFunc("POST /oauth/token-request", s.giveToken)
	mux.HandleFunc("POST /external/token", s.giveToken)
	mux.HandleFunc("POST /session/heartbeat", s.heartbeat)
	mux.HandleFunc("POST /session", s.logout)
	mux.HandleFunc("POST /queries/v1/query-request", s.run)
	mux.HandleFunc("POST /queries/v1/abort-request", s.abort)
	mux.HandleFunc("GET /queries/{id}/result", s.result)
	mux.HandleFunc("PUT /storage/{signature}", s.put)
	return mux
}

// reply answers in the envelope of the protocol.
func (s *Server) reply(w http.ResponseWriter, data any, e *Error) {
	body := map[string]any{"data": data, "success": e == nil, "code": nil, "message": nil}
	if e != nil {
		s.returned.add(e.Code)
		body["code"], body["message"] = e.Code, e.Message
		if data == nil {
			body["data"] = map[string]any{"sqlState": e.State, "queryId": "01b0-" + itoa(s.number())}
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

// falls applies a fault; true: the call is over.
func falls(f fault.Fault) bool {
	if f == fault.Lost {
		panic(http.ErrAbortHandler)
	}
	return f == fault.Unheard
}

func decode(r *http.Request, into any) bool {
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	return d.Decode(into) == nil
}

// loginFields are those that a driver may send: https://github.com/snowflakedb/gosnowflake/blob/v2.1.0/auth.go
var loginFields = []string{"CLIENT_APP_ID", "CLIENT_APP_VERSION", "SVN_REVISION", "ACCOUNT_NAME", "LOGIN_NAME", "PASSWORD", "AUTHENTICATOR", "SESSION_PARAMETERS", "CLIENT_ENVIRONMENT", "TOKEN"}

func (s *Server) login(w http.ResponseWriter, r *http.Request) {
	unheard := falls(s.Befalls("login"))
	var body struct {
		Data map[string]any `json:"data"`
	}
	if !decode(r, &body) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	text := func(name string) string { v, _ := body.Data[name].(string); return v }
	for name := range body.Data {
		if !slices.Contains(loginFields, name) {
			s.reply(w, nil, fail(invalidParameter, "unknown field %s", name))
			return
		}
	}
	if !strings.EqualFold(text("ACCOUNT_NAME"), Account) {
		w.WriteHeader(http.StatusForbidden) // there is no such account
		return
	}
	if e := s.answers("login"); e != nil {
		s.reply(w, nil, e)
		return
	}
	if e := s.authenticate(text); e != nil {
		s.reply(w, nil, e)
		return
	}
	role, warehouse := r.URL.Query().Get("roleName"), r.URL.Query().Get("warehouse")
	switch {
	case role != "" && !strings.EqualFold(role, Role):
		s.reply(w, nil, fail(noRole, "Role '%s' specified in the connect string does not exist or not authorized. Contact your local system administrator, or attempt to login with another role, e.g. PUBLIC.", role))
		return
	case warehouse != "" && !strings.EqualFold(warehouse, Warehouse):
		s.reply(w, nil, fail(noObject, "The requested warehouse does not exist or not authorized."))
		return
	}
	session, err := s.open(role, warehouse)
	if err != nil {
		s.reply(w, nil, fail(internalError, "%v", err))
		return
	}
	params, _ := body.Data["SESSION_PARAMETERS"].(map[string]any)
	var echoed []map[string]any
	for name, value := range params {
		echoed = append(echoed, map[string]any{"name": name, "value": value})
	}
	session.state.abortOnError = fmt.Sprint(params["TRANSACTION_ABORT_ON_ERROR"]) == "true"
	s.mu.Lock()
	s.sessions[session.token] = session
	s.mu.Unlock()
	if unheard {
		panic(http.ErrAbortHandler)
	}
	s.reply(w, map[string]any{
		"token": session.token, "masterToken": session.master, "validityInSeconds": 3600, "masterValidityInSeconds": 14400, "sessionId": session.id, "parameters": echoed,
		"sessionInfo": map[string]any{"roleName": Role, "warehouseName": strings.ToUpper(warehouse)},
	}, nil)
}

func (s *Server) authenticate(text func(string) string) *Error {
	s.mu.Lock()
	password, oauth, expired := s.password, s.oauth, s.expired
	s.mu.Unlock()
	switch text("AUTHENTICATOR") {
	case "", "SNOWFLAKE":
		if !strings.EqualFold(text("LOGIN_NAME"), User) || text("PASSWORD") != password {
			return fail(wrongPassword, "Incorrect username or password was specified.")
		}
	case "OAUTH":
		if text("TOKEN") != oauth {
			return fail(wrongOAuth, "Invalid OAuth access token.")
		}
		if expired {
			return fail(expiredOAuth, "OAuth access token expired.")
		}
	case "SNOWFLAKE_JWT":
		if problem := s.verify(text("TOKEN")); problem != "" {
			return fail(wrongJWT, "JWT token is invalid. [%s]", problem)
		}
	default:
		return fail(invalidParameter, "unknown authenticator")
	}
	return nil
}

// verify checks a JWT as https://docs.snowflake.com/en/developer-guide/sql-api/authenticating#using-key-pair-authentication wants it.
func (s *Server) verify(token string) (problem string) {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return "not a JWT"
	}
	signature, err := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err != nil || rsa.VerifyPKCS1v15(&s.key.PublicKey, crypto.SHA256, sum[:], signature) != nil {
		return "signature"
	}
	var header struct{ Alg, Typ string }
	var claims struct {
		Iss, Sub      string
		Iat, Nbf, Exp int64
	}
	h, _ := base64.RawURLEncoding.DecodeString(parts[0])
	c, _ := base64.RawURLEncoding.DecodeString(parts[1])
	if json.Unmarshal(h, &header) != nil || json.Unmarshal(c, &claims) != nil || header.Alg != "RS256" {
		return "not a JWT"
	}
	der, _ := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	print := sha256.Sum256(der)
	sub := Account + "." + User
	now := time.Now().Unix()
	if claims.Sub != sub || claims.Iss != sub+".SHA256:"+base64.StdEncoding.EncodeToString(print[:]) {
		return "issuer"
	}
	if claims.Exp < now || claims.Iat > now+60 || claims.Exp > claims.Iat+3600 {
		return "time"
	}
	return ""
}

// session finds the session of a request's token.
func (s *Server) session(r *http.Request) (*session, *Error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), `Snowflake Token="`)
	token = strings.TrimSuffix(token, `"`)
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.sessions[token]
	switch {
	case !ok || found == nil:
		return nil, fail(sessionGone, "Session no longer exists. New login required to access the service.")
	case found.expired:
		return found, fail(sessionExpired, "Session expired. Re-connect to continue.")
	}
	return found, nil
}

func (s *Server) renew(w http.ResponseWriter, r *http.Request) {
	falls(s.Befalls("renew"))
	var body struct {
		OldSessionToken string `json:"oldSessionToken"`
		RequestType     string `json:"requestType"`
	}
	if !decode(r, &body) || body.RequestType != "RENEW" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	found := s.sessions[body.OldSessionToken]
	if found == nil || r.Header.Get("Authorization") != `Snowflake Token="`+found.master+`"` || found.masterExpired {
		s.mu.Unlock()
		s.reply(w, nil, fail(masterExpired, "Authentication token has expired. The user must authenticate again."))
		return
	}
	delete(s.sessions, found.token)
	s.serial++
	found.token, found.expired = "session-"+itoa(s.serial), false
	s.sessions[found.token] = found
	s.mu.Unlock()
	s.reply(w, map[string]any{"sessionToken": found.token, "validityInSecondsST": 3600, "masterToken": found.master, "validityInSecondsMT": 14400, "sessionId": found.id}, nil)
}

func (s *Server) heartbeat(w http.ResponseWriter, r *http.Request) {
	_, e := s.session(r)
	s.reply(w, nil, e)
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) {
	falls(s.Befalls("logout"))
	session, e := s.session(r)
	if session == nil {
		s.reply(w, nil, e)
		return
	}
	s.mu.Lock()
	delete(s.sessions, session.token)
	s.mu.Unlock()
	s.end(session)
	s.reply(w, nil, nil)
}

// run runs a statement. A request that comes again, by its ID, gets the answer of the first: https://github.com/snowflakedb/gosnowflake/blob/v2.1.0/restful.go
func (s *Server) run(w http.ResponseWriter, r *http.Request) {
	var body request
	if !decode(r, &body) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	unheard := falls(s.Befalls(call(body.SQLText)))
	session, e := s.session(r)
	if e != nil {
		s.reply(w, nil, e)
		return
	}
	id := r.URL.Query().Get("requestId")
	s.mu.Lock()
	q := s.queries[id]
	again := q != nil
	if !again {
		s.serial++
		// The statement goes on when its client is gone, until it is aborted.
		ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
		q = &query{id: "01b0-" + itoa(s.serial), session: session, cancel: cancel, done: make(chan struct{})}
		s.queries[id] = q
		s.queries[q.id] = q
		base := s.base(r)
		go func() {
			defer cancel()
			q.data, q.err = s.execute(ctx, session, &body, base)
			close(q.done)
		}()
	}
	patience := s.patience
	s.mu.Unlock()
	s.wait(w, r, q, patience, unheard)
}

func (s *Server) wait(w http.ResponseWriter, r *http.Request, q *query, patience time.Duration, unheard bool) {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-q.done:
	case <-r.Context().Done():
		return
	case <-timer.C:
		s.reply(w, map[string]any{"getResultUrl": "/queries/" + q.id + "/result", "queryId": q.id}, &Error{"333333", "", "Query in progress"})
		return
	}
	if unheard {
		panic(http.ErrAbortHandler)
	}
	if q.err != nil {
		s.reply(w, map[string]any{"sqlState": q.err.State, "queryId": q.id}, q.err)
		return
	}
	q.data.QueryID = q.id
	s.reply(w, q.data, nil)
}

func (s *Server) result(w http.ResponseWriter, r *http.Request) {
	if _, e := s.session(r); e != nil {
		s.reply(w, nil, e)
		return
	}
	s.mu.Lock()
	q, patience := s.queries[r.PathValue("id")], s.patience
	s.mu.Unlock()
	if q == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	s.wait(w, r, q, patience, false)
}

func (s *Server) abort(w http.ResponseWriter, r *http.Request) {
	falls(s.Befalls("abort"))
	var body struct {
		RequestID string `json:"requestId"`
	}
	if !decode(r, &body) {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if _, e := s.session(r); e != nil {
		s.reply(w, nil, e)
		return
	}
	s.mu.Lock()
	q := s.queries[body.RequestID]
	s.mu.Unlock()
	if q == nil {
		s.reply(w, nil, fail(notExecuting, "Identified SQL statement is not currently executing."))
		return
	}
	select {
	case <-q.done:
		s.reply(w, nil, fail(notExecuting, "Identified SQL statement is not currently executing."))
	default:
		q.cancel()
		s.reply(w, nil, nil)
	}
}

// put takes a file at a URL that PUT has signed.
func (s *Server) put(w http.ResponseWriter, r *http.Request) {
	falls(s.Befalls("upload"))
	if status := s.uploadStatus(); status != 0 {
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(status)
		return
	}
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	path, ok := s.uploads[r.PathValue("signature")]
	if !ok {
		w.WriteHeader(http.StatusForbidden)
		return
	}
	s.files[path] = bytes.Clone(data)
}

// call is what a statement is called for faults.
func call(statement string) string {
	words := strings.Fields(statement)
	if len(words) == 0 {
		return ""
	}
	switch words[0] {
	case "CREATE", "BEGIN":
		return strings.Join(words[:2], " ")
	}
	return words[0]
}
