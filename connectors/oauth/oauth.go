// Package oauth gets tokens at an app's token endpoint (RFC 6749), for connectors whose connections expire: their Renewal calls it.
//
// It sends what it is given, once, and says what came of it: it does not retry, sleep or remember. Whom a connection is renewed by,
// and that the new token is stored before it is used, is the engine's business.
package oauth

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Request is what a token endpoint is asked with.
type Request struct {
	// URL is the token endpoint. One whose host a user may choose is judged by outbound.CheckURL first, and called with the Transport of an
	// outbound.Client (I14).
	URL string
	// ClientID and ClientSecret are the app's own credentials. They are sent in the body or, where Basic is true, in the Authorization
	// header (RFC 6749, section 2.3.1); what is empty is not sent.
	ClientID, ClientSecret string
	Basic                  bool
	// RefreshToken is for Refresh.
	RefreshToken string
	// Assertion, for ClientCredentials, is a JWT that proves who asks in place of the secret (RFC 7523, section 2.2). The caller has signed it.
	Assertion string
	// Scope is sent where it is not empty.
	Scope string
	// ErrorCode, where the endpoint has words of its own, gives the RFC 6749 error code, such as "invalid_grant", that an answer that is no
	// token stands for; "" leaves it to the answer's field "error" and the status. body is at most 1 MiB and perhaps no JSON. Nil: the RFC's words.
	ErrorCode func(status int, body []byte) string
	// Transport is nil for http.DefaultTransport. Redirects are not followed: the secrets are for this host alone.
	Transport http.RoundTripper
	// Now is the clock that lifetimes are counted from; nil = time.Now.
	Now func() time.Time
}

// Token is what the endpoint gave.
type Token struct {
	AccessToken string
	// RefreshToken is the one to use next: the new one where it was rotated, else the one that was sent.
	RefreshToken string
	// ExpiresAt is when the access token stops working, in whole seconds; where the endpoint doesn't say, an hour from now.
	ExpiresAt time.Time
	// RenewAt is when to renew it: a quarter of its lifetime before ExpiresAt, at most an hour. In that time one worker may die at it and
	// another take over, or the endpoint be down for a while, and nobody waits.
	RenewAt time.Time
}

const (
	// timeout bounds an exchange.
	timeout = 15 * time.Second
	// maxBody bounds an answer in bytes.
	maxBody = 1 << 20
	// maxToken bounds a token in bytes: what is longer fits no header.
	maxToken = 16 << 10

	defaultLifetime = time.Hour
	maxLifetime     = 365 * 24 * time.Hour
	maxMargin       = time.Hour
)

// Refresh exchanges a refresh token for a new access token (RFC 6749, section 6). An endpoint that rotates refresh tokens may refuse the
// one sent from then on: what is returned is stored before it is used.
//
// Its error is an *Error without anything that was sent or answered: Unauthorized where the account is to be connected again
// (invalid_grant) or the app's own credentials are refused (invalid_client), RateLimited, Unavailable, or Forbidden, Invalid and NotFound
// where the app or its settings are wrong.
func Refresh(ctx context.Context, r Request) (Token, error) {
	if r.RefreshToken == "" {
		return Token{}, connectors.Errorf(connectors.Unauthorized, opRefresh, "there is no refresh token: connect the account again")
	}
	return r.exchange(ctx, opRefresh, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {r.RefreshToken}})
}

// ClientCredentials gets an access token for the client itself (RFC 6749, section 4.4), which Assertion or ClientSecret proves. Its errors
// are those of Refresh.
func ClientCredentials(ctx context.Context, r Request) (Token, error) {
	form := url.Values{"grant_type": {"client_credentials"}}
	if r.Assertion != "" {
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", r.Assertion)
	}
	return r.exchange(ctx, opClient, form)
}

const (
	opRefresh = "refresh the token"
	opClient  = "get a token"
)

func (r Request) exchange(ctx context.Context, op string, form url.Values) (Token, error) {
	now := time.Now
	if r.Now != nil {
		now = r.Now
	}
	if r.Scope != "" {
		form.Set("scope", r.Scope)
	}
	if !r.Basic && r.ClientID != "" {
		form.Set("client_id", r.ClientID)
	}
	if !r.Basic && r.ClientSecret != "" {
		form.Set("client_secret", r.ClientSecret)
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, r.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return Token{}, connectors.Errorf(connectors.Invalid, op, "the token endpoint's URL is not valid")
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", "application/json")
	if r.Basic {
		req.SetBasicAuth(url.QueryEscape(r.ClientID), url.QueryEscape(r.ClientSecret))
	}
	client := http.Client{Transport: r.Transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	// Lifetimes count from before the exchange, so that a slow answer makes no token live longer than it does.
	asked := now()
	res, err := client.Do(req)
	if err != nil {
		return Token{}, outbound.AsError(op, err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over) || len(body) > maxBody:
		return Token{}, connectors.Errorf(connectors.Unavailable, op, "the answer is larger than %d MiB, and no token", maxBody>>20)
	case err != nil:
		return Token{}, outbound.AsError(op, err)
	}
	if res.StatusCode/100 == 2 {
		if t, ok := parse(body, asked); ok {
			if t.RefreshToken == "" {
				t.RefreshToken = r.RefreshToken
			}
			return t, nil
		}
	}
	return Token{}, r.refusal(op, res, body, now())
}

// parse reads a token (RFC 6749, section 5.1). It is strict with the tokens and lenient with the rest: an answer refused for its
// lifetime would lose the refresh token in it, which may be the only one that works from now on.
func parse(body []byte, asked time.Time) (Token, bool) {
	if connectors.CheckPayload("", body) != nil {
		return Token{}, false
	}
	answer := gjson.ParseBytes(body)
	access, refresh := answer.Get("access_token"), answer.Get("refresh_token")
	rotated := refresh.Exists() && refresh.Type != gjson.Null && refresh.Raw != `""`
	if !answer.IsObject() || !isToken(access) || rotated && !isToken(refresh) {
		return Token{}, false
	}
	life := defaultLifetime
	// Some endpoints write the number as a string.
	if seconds := answer.Get("expires_in").Float(); seconds >= 1 {
		life = time.Duration(min(seconds, maxLifetime.Seconds())) * time.Second
	}
	expires := asked.Add(life).UTC().Truncate(time.Second)
	return Token{
		AccessToken: access.Str, RefreshToken: refresh.Str,
		ExpiresAt: expires, RenewAt: expires.Add(-min(life/4, maxMargin)).Truncate(time.Second),
	}, true
}

// isToken says whether a value can be sent in a header and a form: visible characters (RFC 6749, appendix A.12).
func isToken(v gjson.Result) bool {
	if v.Type != gjson.String || v.Str == "" || len(v.Str) > maxToken {
		return false
	}
	for i := range len(v.Str) {
		if v.Str[i] <= ' ' || v.Str[i] > '~' {
			return false
		}
	}
	return true
}
