package shopify

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"

	"tributary/connectors"
)

// keyOf takes the number out of a global ID, gid://shopify/Customer/7845692539040, which is how webhooks know the object.
// https://shopify.dev/docs/api/usage/gids
func keyOf(op, gid string) (key string, id int64, err error) {
	rest, ok := strings.CutPrefix(gid, "gid://shopify/")
	if ok {
		_, rest, ok = strings.Cut(rest, "/")
	}
	rest, _, _ = strings.Cut(rest, "?")
	id, numeric := number(rest)
	if !ok || !numeric {
		return "", 0, connectors.Errorf(connectors.Invalid, op, "a record has no usable id")
	}
	return rest, id, nil
}

// number accepts a positive integer in its one spelling, so that a key is the same wherever it comes from.
func number(s string) (int64, bool) {
	id, err := strconv.ParseInt(s, 10, 64)
	return id, err == nil && id > 0 && strconv.FormatInt(id, 10) == s
}

// idOf is the number of a webhook's object; some topics write it as a string.
func idOf(v gjson.Result) (string, bool) {
	s := v.Raw
	if v.Type == gjson.String {
		s = v.Str
	}
	_, ok := number(s)
	return s, ok
}
