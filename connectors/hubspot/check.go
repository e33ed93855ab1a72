package hubspot

import (
	"context"
	"net/http"
	"net/url"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// Check proves that the token is of the connection's account and may read the block's streams, or contacts, companies or deals where a
// connection is checked by itself.
func (s *source) Check(ctx context.Context) error {
	const op = "check"
	if s.api == nil {
		return connectors.Errorf(connectors.Unauthorized, op, "there is no connection: connect the account")
	}
	got, err := s.api.call(ctx, op, http.MethodGet, nil, nil, "account-info", "v3", "details")
	if err != nil {
		return err
	}
	if id, _ := idOf(gjson.GetBytes(got.body, "portalId")); id != s.portal {
		return connectors.Errorf(connectors.Invalid, op, "the token is of the account %s: check the connection's portal_id", connectors.Clip(id, 30))
	}
	names, any := s.streams, false
	if names == nil {
		names, any = []string{"contacts", "companies", "deals"}, true
	}
	var refused error
	for _, name := range names {
		st, err := lookup(op, name)
		if err != nil {
			return err
		}
		query := url.Values{"limit": {"1"}, "properties": {objectID}, "archived": {"false"}}
		_, err = s.api.call(ctx, op, http.MethodGet, query, nil, "crm", "v3", "objects", st.name)
		switch {
		case err != nil && !any:
			e := connectors.AsError(op, err)
			e.Message = "stream " + st.name + ": " + e.Message
			return e
		case err == nil && any:
			return nil
		case refused == nil:
			refused = err
		}
	}
	return refused
}
