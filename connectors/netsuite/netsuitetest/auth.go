package netsuitetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"
)

// tokenLife is how long an access token is valid.
const tokenLife = time.Hour

// token hands out an access token for an assertion.
func (s *Server) token(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	deny := func(code string) {
		s.returned.Return(code)
		w.WriteHeader(http.StatusBadRequest)
		_ = json.NewEncoder(w).Encode(map[string]string{"error": code})
	}
	if err := r.ParseForm(); err != nil || r.Method != http.MethodPost || len(r.URL.RawQuery) > 0 ||
		r.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" || len(r.PostForm) != 3 {
		deny("invalid_request")
		return
	}
	if r.PostForm.Get("grant_type") != "client_credentials" {
		deny("unsupported_grant_type")
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(tokenErrors, s.failing) {
		deny(s.failing)
		return
	}
	if code := s.assertion(r.PostForm.Get("client_assertion")); code != "" {
		deny(code)
		return
	}
	token := "canary-access-" + rand.Text()
	s.tokens[token] = s.Now().Add(tokenLife)
	s.exchange++
	_ = json.NewEncoder(w).Encode(map[string]string{"access_token": token, "expires_in": "3600", "token_type": "bearer"})
}

// assertion says what is wrong with an assertion, or "".
func (s *Server) assertion(jwt string) string {
	parts := strings.Split(jwt, ".")
	if len(parts) != 3 {
		return "invalid_request"
	}
	var header struct{ Typ, Alg, Kid string }
	var claims struct {
		Iss, Aud string
		Scope    []string
		Iat, Exp int64
	}
	var raw [3][]byte
	for i, part := range parts {
		var err error
		if raw[i], err = base64.RawURLEncoding.DecodeString(part); err != nil {
			return "invalid_request"
		}
	}
	if json.Unmarshal(raw[0], &header) != nil || json.Unmarshal(raw[1], &claims) != nil {
		return "invalid_request"
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	switch key := s.keys[header.Kid].(type) {
	case *rsa.PublicKey:
		// https://www.rfc-editor.org/rfc/rfc7518#section-3.5: the salt is as long as the hash.
		if header.Alg != "PS256" || key.N.BitLen() < 3072 || rsa.VerifyPSS(key, crypto.SHA256, digest[:], raw[2], &rsa.PSSOptions{SaltLength: 32}) != nil {
			return "invalid_grant"
		}
	case *ecdsa.PublicKey:
		// https://www.rfc-editor.org/rfc/rfc7518#section-3.4: two numbers of 32 bytes.
		if header.Alg != "ES256" || len(raw[2]) != 64 || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(raw[2][:32]), new(big.Int).SetBytes(raw[2][32:])) {
			return "invalid_grant"
		}
	default:
		return "invalid_grant"
	}
	now := s.Now().Unix()
	switch {
	case header.Typ != "JWT", claims.Iss != ClientID:
		return "invalid_client"
	case claims.Aud != "https://"+Host+"/services/rest/auth/oauth2/v1/token", claims.Exp-claims.Iat >= 3600, claims.Exp <= now, claims.Iat > now+60:
		return "invalid_grant"
	case len(claims.Scope) != 1 || claims.Scope[0] != "rest_webservices":
		return "invalid_scope"
	}
	return ""
}

var oauthParameter = regexp.MustCompile(`^\s*([a-z_]+)="([^"]*)"$`)

// signed verifies a request of token-based authentication by RFC 5849: the signature is over the URL under which the account is known.
func (s *Server) signed(r *http.Request, header string) bool {
	list, ok := strings.CutPrefix(header, "OAuth ")
	if !ok {
		return false
	}
	got := map[string]string{}
	for _, part := range strings.Split(list, ",") {
		m := oauthParameter.FindStringSubmatch(part)
		if m == nil {
			return false
		}
		value, err := url.PathUnescape(m[2])
		if err != nil || got[m[1]] != "" {
			return false
		}
		got[m[1]] = value
	}
	at, err := strconv.ParseInt(got["oauth_timestamp"], 10, 64)
	skew := s.Now().Sub(time.Unix(at, 0)).Abs()
	if err != nil || skew > 5*time.Minute || got["realm"] != Account || got["oauth_consumer_key"] != ConsumerKey || got["oauth_token"] != TokenID ||
		got["oauth_signature_method"] != "HMAC-SHA256" || got["oauth_version"] != "1.0" || len(got["oauth_nonce"]) < 6 || len(got["oauth_nonce"]) > 64 {
		return false
	}
	nonce := got["oauth_timestamp"] + " " + got["oauth_nonce"]
	if s.nonces[nonce] {
		return false
	}
	var pairs []string
	for key, value := range got {
		if key != "realm" && key != "oauth_signature" {
			pairs = append(pairs, escape(key)+"="+escape(value))
		}
	}
	for key, values := range r.URL.Query() {
		for _, v := range values {
			pairs = append(pairs, escape(key)+"="+escape(v))
		}
	}
	sort.Strings(pairs)
	base := r.Method + "&" + escape("https://"+Host+r.URL.Path) + "&" + escape(strings.Join(pairs, "&"))
	mac := hmac.New(sha256.New, []byte(escape(ConsumerSecret)+"&"+escape(TokenSecret)))
	_, _ = fmt.Fprint(mac, base)
	signature, err := base64.StdEncoding.DecodeString(got["oauth_signature"])
	if err != nil || !hmac.Equal(signature, mac.Sum(nil)) {
		return false
	}
	s.nonces[nonce] = true
	return true
}

// escape is percent-encoding as https://www.rfc-editor.org/rfc/rfc5849#section-3.6 has it.
func escape(s string) string {
	return strings.NewReplacer("+", "%20", "%7E", "~").Replace(url.QueryEscape(s))
}
