package hubspottest

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// exchange gives an access token for a refresh token. https://developers.hubspot.com/docs/api/oauth/tokens
func (s *Server) exchange(w http.ResponseWriter, r *http.Request) {
	refuse := func(status, message string) {
		s.o.Returned.Return(status)
		s.write(w, 400, map[string]any{
			"status": status, "message": message, "correlationId": "aeb5f871-7f07-4993-9211-075dc63e7cbf", "category": "VALIDATION_ERROR",
		})
	}
	if r.Header.Get("Content-Type") != "application/x-www-form-urlencoded" || len(r.URL.RawQuery) > 0 {
		refuse("BAD_REQUEST", "want a form")
		return
	}
	if err := r.ParseForm(); err != nil {
		refuse("BAD_REQUEST", "want a form")
		return
	}
	f := r.PostForm
	i := slices.IndexFunc(*s.accounts, func(a *Server) bool { return a.refresh == f.Get("refresh_token") })
	switch {
	case f.Get("grant_type") != "refresh_token":
		refuse("BAD_GRANT_TYPE", "missing or unknown grant_type")
	case f.Get("client_id") != ClientID:
		refuse("BAD_CLIENT_ID", "missing or invalid client id")
	case f.Get("client_secret") != ClientSecret:
		refuse("BAD_CLIENT_SECRET", "missing or invalid client secret")
	case i < 0:
		refuse("BAD_REFRESH_TOKEN", "missing or invalid refresh token")
	default:
		s = (*s.accounts)[i]
		s.served["token"]++
		n := strconv.Itoa(s.served["token"])
		if s.o.Rotate {
			s.refresh, _, _ = strings.Cut(s.refresh, "-")
			s.refresh += "-" + n
		}
		s.tokens[s.access+"-"+n] = s.o.Now().Add(TokenLife)
		s.write(w, 200, map[string]any{
			"access_token": s.access + "-" + n, "refresh_token": s.refresh, "expires_in": int(TokenLife / time.Second), "token_type": "bearer",
			"token_use": "access_token", "hub_id": s.o.Portal, "scopes": []string{"oauth"}, "user_id": 1,
		})
	}
}

// Expire lets the first access token live as long as one of OAuth does.
func (s *Server) Expire() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[s.access] = s.o.Now().Add(TokenLife)
}
