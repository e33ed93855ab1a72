// Package hubspottest is an account of HubSpot, or several, and an app that they have installed: CRM objects, properties, the app's webhooks, OAuth tokens.
// It has the vendor's limits and refuses what the vendor refuses, and any field or parameter that the vendor does not document.
//
// What it answers follows
//   - https://developers.hubspot.com/docs/guides/crm/using-object-apis and https://developers.hubspot.com/docs/api/crm/search
//   - https://developers.hubspot.com/docs/guides/api/crm/properties
//   - https://developers.hubspot.com/docs/api-reference/webhooks-webhooks-v3/guide and https://developers.hubspot.com/docs/api/webhooks
//   - https://developers.hubspot.com/docs/api/webhooks/validating-requests
//   - https://developers.hubspot.com/docs/api/oauth/tokens
//   - https://developers.hubspot.com/docs/developer-tooling/platform/usage-guidelines
//   - https://developers.hubspot.com/docs/api/error-handling
//
// and the vendor's OpenAPI documents. It differs from the vendor in that an unset property is left out of an object, as those documents have it,
// where the vendor may answer null.
package hubspottest

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"tributary/connectors/connectortest/documented"
)

// Options shape a server; what is zero has the value that the constants name.
type Options struct {
	// Now is the server's clock; nil = time.Now.
	Now func() time.Time
	// Limited makes the server count calls: General in ten seconds, searches apart, Search in a second.
	Limited         bool
	General, Search int
	// Portal is the account's ID; 0 = PortalID.
	Portal int64
	// Rotate gives a new refresh token with each exchange, after which the old one is refused.
	Rotate bool
	// Returned, unless nil, counts the errors that the server returns.
	Returned *documented.Errors
}

// What a server has.
const (
	AppID        = 812345
	PortalID     = 62515
	ClientID     = "6ba9f2c1-client"
	ClientSecret = "hs_canary_client_secret"
	DeveloperKey = "hs_canary_developer_key"
	AccessToken  = "hs_canary_access_token"
	RefreshToken = "hs_canary_refresh_token"
	// TokenLife is how long an access token of OAuth lives.
	TokenLife = 30 * time.Minute
)

// Server is an http.Handler.
type Server struct {
	o    Options
	mux  *http.ServeMux
	mu   *sync.Mutex // one thing at a time
	last int64       // ID given last
	// accounts are all that have installed the app, this one too.
	accounts *[]*Server

	types   map[string]*objectType // by every name that a path may have
	access  string                 // the first access token
	tokens  map[string]time.Time   // when they expire; zero = never
	refresh string
	scopes  []string // granted; nil = all

	calls  map[string][]time.Time
	refuse func(call string) *Refusal
	served map[string]int

	hooks *hooks
}

// Refusal is an answer that is no success.
type Refusal struct {
	Status   int
	Category string
	Message  string
	Policy   string // of a 429
	Header   map[string]string
	Context  map[string][]string // of the first error within
}

// New makes a server. It has the object types of HubSpot's own (contacts, companies, engagements and so on) and the custom one 2-3465404 (p62515_car), all empty.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.General == 0 {
		o.General = 110
	}
	if o.Search == 0 {
		o.Search = 5
	}
	if o.Portal == 0 {
		o.Portal = PortalID
	}
	s := &Server{
		o: o, mux: http.NewServeMux(), mu: &sync.Mutex{}, last: 100, accounts: &[]*Server{}, types: map[string]*objectType{}, access: AccessToken,
		refresh: RefreshToken, calls: map[string][]time.Time{}, served: map[string]int{}, hooks: &hooks{},
	}
	if o.Portal != PortalID {
		s.access, s.refresh = AccessToken+"_of_"+strconv.FormatInt(o.Portal, 10), RefreshToken+"_of_"+strconv.FormatInt(o.Portal, 10)
	}
	s.tokens = map[string]time.Time{s.access: {}}
	*s.accounts = append(*s.accounts, s)
	s.addTypes()
	s.route("GET /account-info/v3/details", "account", s.details)
	s.route("GET /crm/v3/properties/{type}", "properties", s.properties)
	s.route("GET /crm/v3/objects/{type}", "list", s.list)
	s.route("POST /crm/v3/objects/{type}/batch/read", "batch", s.batchRead)
	s.route("POST /crm/v3/objects/{type}/search", "search", s.search)
	s.routeHooks()
	s.mux.HandleFunc("POST /oauth/v1/token", s.exchange)
	s.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, &Refusal{Status: 404, Category: "NOT_FOUND", Message: "Unable to find a resource at this path"})
	})
	return s
}

// Join makes another account that has installed the same app. Either server answers for both, by the token of a call; the app's webhooks,
// and what is pending of them, are one for both.
func (s *Server) Join(o Options) *Server {
	other := New(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	other.mu, other.hooks, other.accounts = s.mu, s.hooks, s.accounts
	*s.accounts = append(*s.accounts, other)
	return other
}

// Tokens are the access token that the account had first, and the refresh token that it has now.
func (s *Server) Tokens() (access, refresh string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.access, s.refresh
}

// account is the one that a call's token is of; calls without one are the app's own.
func (s *Server) account(r *http.Request) *Server {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	for _, a := range *s.accounts {
		if _, known := a.tokens[token]; known {
			return a
		}
	}
	return s
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.Header().Set("Date", s.o.Now().UTC().Format(http.TimeFormat))
	// What the front of a web server takes as the first line of a request.
	if len(r.URL.RequestURI()) > 8<<10 {
		s.fail(w, &Refusal{Status: http.StatusRequestURITooLong, Category: "VALIDATION_ERROR", Message: "URI Too Long"})
		return
	}
	s.account(r).mux.ServeHTTP(w, r)
}

// RoundTrip makes the server a transport, without a network, whatever host a request names.
func (s *Server) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := httptest.NewRecorder()
	s.ServeHTTP(rec, req)
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	res := rec.Result()
	res.Request = req
	return res, nil
}

// route serves calls of an account: with a token that has not expired, and within the limits.
func (s *Server) route(pattern, call string, serve func(http.ResponseWriter, *http.Request) *Refusal) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		refused := s.authenticate(r)
		if refused == nil {
			refused = s.limit(w, call)
		}
		if refused == nil && s.refuse != nil {
			refused = s.refuse(call)
		}
		if refused == nil {
			s.served[call]++
			refused = serve(w, r)
		}
		if refused != nil {
			s.fail(w, refused)
		}
	})
}

func (s *Server) authenticate(r *http.Request) *Refusal {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	until, known := s.tokens[token]
	switch {
	case !ok || !known:
		return &Refusal{Status: 401, Category: "INVALID_AUTHENTICATION", Message: "Authentication credentials not found. This API supports OAuth 2.0 authentication."}
	case !until.IsZero() && !s.o.Now().Before(until):
		return &Refusal{Status: 401, Category: "EXPIRED_AUTHENTICATION", Message: "The OAuth token used to make this call expired."}
	}
	return nil
}

// limit counts a call. Answers of searches have no headers of it.
func (s *Server) limit(w http.ResponseWriter, call string) *Refusal {
	window, most, counter := 10*time.Second, s.o.General, "general"
	if call == "search" {
		window, most, counter = time.Second, s.o.Search, "search"
	}
	now := s.o.Now()
	recent := slices.DeleteFunc(s.calls[counter], func(at time.Time) bool { return now.Sub(at) >= window })
	s.calls[counter] = recent
	over := s.o.Limited && len(recent) >= most
	if !over && s.o.Limited {
		s.calls[counter] = append(recent, now)
	}
	if call != "search" {
		h := w.Header()
		h.Set("X-HubSpot-RateLimit-Max", strconv.Itoa(most))
		h.Set("X-HubSpot-RateLimit-Remaining", strconv.Itoa(max(most-len(s.calls[counter]), 0)))
		h.Set("X-HubSpot-RateLimit-Interval-Milliseconds", strconv.Itoa(int(window/time.Millisecond)))
		h.Set("X-HubSpot-RateLimit-Daily", "500000")
		h.Set("X-HubSpot-RateLimit-Daily-Remaining", "499000")
	}
	switch {
	case !over:
		return nil
	case call == "search":
		return Secondly()
	}
	return TenSecondly()
}

// Refuse lets calls be refused: f is asked before each, by its name: account, properties, list, batch, search, hooks.
func (s *Server) Refuse(f func(call string) *Refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = f
}

// Served is how often a call was answered.
func (s *Server) Served(call string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.served[call]
}

// Grant sets the scopes that the account has given the app; nil = all.
func (s *Server) Grant(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scopes = scopes
}

// Limits of the vendor, as it words them.
func TenSecondly() *Refusal {
	return &Refusal{Status: 429, Category: "RATE_LIMITS", Message: "You have reached your ten_secondly_rolling limit.", Policy: "TEN_SECONDLY_ROLLING"}
}

// Secondly is the limit of searches.
func Secondly() *Refusal {
	return &Refusal{Status: 429, Category: "RATE_LIMITS", Message: "You have reached your secondly limit.", Policy: "SECONDLY"}
}

// Daily is the account's limit until midnight.
func Daily() *Refusal {
	return &Refusal{Status: 429, Category: "RATE_LIMITS", Message: "You have reached your daily limit.", Policy: "DAILY"}
}

func (s *Server) details(w http.ResponseWriter, r *http.Request) *Refusal {
	if refused := onlyParameters(r); refused != nil {
		return refused
	}
	return s.write(w, 200, map[string]any{
		"portalId": s.o.Portal, "accountType": "STANDARD", "timeZone": "US/Eastern", "companyCurrency": "USD", "additionalCurrencies": []string{},
		"utcOffset": "-05:00", "utcOffsetMilliseconds": -18000000, "uiDomain": "app.hubspot.com", "dataHostingLocation": "na1",
	})
}
