package shopify

import (
	"context"
	"slices"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

const checkQuery = `{ shop { name myshopifyDomain } currentAppInstallation { accessScopes { handle } } }`

// Check proves the token and the access scopes: those of the block's streams, or of at least one stream where a connection is checked by itself.
func (s *source) Check(ctx context.Context) error {
	const op = "check"
	body, err := s.call(ctx, op, checkQuery, nil)
	if err != nil {
		return err
	}
	data := gjson.GetBytes(body, "data")
	if got := normalShop(data.Get("shop.myshopifyDomain").Str); got != s.shop {
		return connectors.Errorf(connectors.Invalid, op, "the token is of the shop %s: check the connection's shop", connectors.Clip(got, 100))
	}
	var granted []string
	for _, scope := range data.Get("currentAppInstallation.accessScopes.#.handle").Array() {
		granted = append(granted, scope.Str)
	}
	missing := make(map[string][]string)
	for _, st := range streams {
		for _, scope := range st.scopes {
			// The right to write a thing includes the right to read it.
			if !slices.Contains(granted, scope) && !slices.Contains(granted, "write_"+strings.TrimPrefix(scope, "read_")) {
				missing[st.name] = append(missing[st.name], scope)
			}
		}
	}
	if s.streams == nil {
		if len(missing) < len(streams) {
			return nil
		}
		return connectors.Errorf(connectors.Forbidden, op, "the app may read nothing: grant it the access scopes of a stream, such as read_customers, read_orders or read_products, in the shop's admin")
	}
	var need []string
	for _, name := range s.streams {
		for _, scope := range missing[name] {
			if !slices.Contains(need, scope) {
				need = append(need, scope)
			}
		}
	}
	if need != nil {
		return connectors.Errorf(connectors.Forbidden, op, "grant the app %s in the shop's admin, then install it again", strings.Join(need, " and "))
	}
	return nil
}
