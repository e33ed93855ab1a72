package netsuite

import "strings"

const (
	domain      = ".suitetalk.api.netsuite.com"
	suiteqlPath = "services/rest/query/v1/suiteql"
	tokenPath   = "services/rest/auth/oauth2/v1/token"
)

// normalAccount takes what people copy: the ID in either spelling, of the account's page or of its URLs.
func normalAccount(s string) string {
	s = strings.ToUpper(strings.TrimSpace(s))
	s = strings.TrimPrefix(s, "HTTPS://")
	s, _, _ = strings.Cut(s, ".")
	return strings.ReplaceAll(s, "-", "_")
}

// hostOf is the account's own host: https://docs.oracle.com/en/cloud/saas/netsuite/ns-online-help/section_1546938065.html
func hostOf(account string) string {
	return strings.ToLower(strings.ReplaceAll(account, "_", "-")) + domain
}
