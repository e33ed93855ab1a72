package sandbox

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"
)

// Tokens that expire: https://shopify.dev/docs/apps/build/authentication-authorization/access-tokens/offline-access-tokens and
// https://shopify.dev/docs/apps/build/authentication-authorization/client-credentials-grant. A refresh token lasts for 90 days and is replaced each
// time; the one before works until its replacement's access token is used
// (https://shopify.dev/changelog/more-resilient-refreshes-for-expiring-offline-access-tokens).
const (
	offlineLife     = time.Hour
	credentialsLife = 24 * time.Hour
	refreshLife     = 90 * 24 * time.Hour
)

// tokens are what the app has got.
type tokens struct {
	ends  map[string]time.Time // access tokens that expire
	pairs []pair               // the latest last
}

// pair is a refresh token and the access token that came with it.
type pair struct {
	refresh, access string
	ends            time.Time
}

// RefreshToken is the one to use next; empty where tokens do not expire.
func (s *Shop) RefreshToken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tokens.pairs) == 0 {
		return ""
	}
	return s.tokens.pairs[len(s.tokens.pairs)-1].refresh
}

// accepts says whether a token may call the API now. That it is used makes the refresh tokens before its own worthless.
func (s *Shop) accepts(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.tokens.ends) == 0 {
		return subtle.ConstantTimeCompare([]byte(token), []byte(s.options.AccessToken)) == 1
	}
	ends, ok := s.tokens.ends[token]
	if !ok || !s.options.Now().Before(ends) {
		return false
	}
	for i, p := range s.tokens.pairs {
		if p.access == token {
			s.tokens.pairs = s.tokens.pairs[i:]
			break
		}
	}
	return true
}

// grant notes new tokens.
func (s *Shop) grant(access string, refreshes bool) map[string]any {
	now := s.options.Now()
	life := credentialsLife
	out := map[string]any{"access_token": access, "scope": "read_customers"}
	if refreshes {
		life = offlineLife
		p := pair{"shprt_" + rand.Text(), access, now.Add(refreshLife)}
		s.tokens.pairs = append(s.tokens.pairs, p)
		out["refresh_token"], out["refresh_token_expires_in"] = p.refresh, int(refreshLife.Seconds())
	}
	s.tokens.ends[access] = now.Add(life)
	out["expires_in"] = int(life.Seconds())
	return out
}

// serveToken answers POST /admin/oauth/access_token.
func (s *Shop) serveToken(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, code string) { writeJSON(w, status, map[string]any{"error": code}) }
	if r.Method != http.MethodPost {
		refuse(http.StatusNotFound, "Not Found")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
	if err != nil {
		return
	}
	in := map[string]string{}
	if kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); kind == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			refuse(http.StatusBadRequest, "invalid_request")
			return
		}
		for name := range form {
			in[name] = form.Get(name)
		}
	} else if json.Unmarshal(body, &in) != nil {
		refuse(http.StatusBadRequest, "invalid_request")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if in["client_id"] != s.options.ClientID || subtle.ConstantTimeCompare([]byte(in["client_secret"]), []byte(s.secret)) != 1 {
		refuse(http.StatusBadRequest, "invalid_client")
		return
	}
	switch in["grant_type"] {
	case "client_credentials":
		if s.options.Elsewhere {
			refuse(http.StatusBadRequest, "shop_not_permitted")
			return
		}
		writeJSON(w, http.StatusOK, s.grant("shpat_"+rand.Text(), false))
	case "refresh_token":
		for _, p := range s.tokens.pairs {
			if p.refresh == in["refresh_token"] && s.options.Now().Before(p.ends) {
				writeJSON(w, http.StatusOK, s.grant("shpat_"+rand.Text(), true))
				return
			}
		}
		// The one answer to all that is final.
		refuse(http.StatusUnauthorized, "invalid_request")
	default:
		refuse(http.StatusBadRequest, "unsupported_grant_type")
	}
}
