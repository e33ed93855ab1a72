package snowflaketest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"time"
)

// The OAuth client of the account, whose ID has what Snowflake's have, and how long access tokens live.
const (
	ClientID     = "AbC+d/EfG="
	ClientSecret = "client secret+/="
	TokenLife    = 10 * time.Minute
)

// giveToken exchanges refresh tokens, each of which works once: https://docs.snowflake.com/en/user-guide/oauth-custom, https://docs.snowflake.com/en/user-guide/oauth-snowflake-overview;
// errors are those of RFC 6749, section 5.2. An authorization server of another's gives tokens to the client itself at /external/token.
func (s *Server) giveToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	refuse := func(status int, code string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code, "error_description": "said by the server"})
	}
	id, secret, ok := r.BasicAuth()
	id, _ = url.QueryUnescape(id)
	secret, _ = url.QueryUnescape(secret)
	if !ok || id != ClientID || secret != ClientSecret {
		refuse(http.StatusUnauthorized, "invalid_client")
		return
	}
	external := r.URL.Path == "/external/token"
	s.mu.Lock()
	defer s.mu.Unlock()
	answer := map[string]any{"token_type": "Bearer", "expires_in": int(TokenLife / time.Second), "scope": r.PostFormValue("scope")}
	switch grant := r.PostFormValue("grant_type"); {
	case external && grant == "client_credentials":
	case grant != "refresh_token" || external:
		refuse(http.StatusBadRequest, "unsupported_grant_type")
		return
	case r.PostFormValue("refresh_token") != s.refresh:
		refuse(http.StatusBadRequest, "invalid_grant")
		return
	default:
		s.serial++
		s.refresh = "refresh-token-" + itoa(s.serial)
		answer["refresh_token"] = s.refresh
	}
	s.serial++
	s.oauth, s.expired = "oauth-token-"+itoa(s.serial), false
	answer["access_token"] = s.oauth
	_ = json.NewEncoder(w).Encode(answer)
}
