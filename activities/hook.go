package activities

import (
	"context"

	"tributary/internal/block"
)

// TokenPurpose is what a webhook URL's token is sealed for in the vault.
const TokenPurpose = "webhook-token"

// HookPath is where an installation's own webhooks go: its token is unguessable and is all that the receiver knows it by.
func HookPath(token string) string { return "/hooks/" + token }

// AppPath is where the webhooks of all installations of an app go.
func AppPath(connector, connection string) string { return "/apps/" + connector + "/" + connection }

// hookURL is where the app is to send this installation's webhooks. shared is not empty where others share it.
func (a *Activities) hookURL(ctx context.Context, t Target, s block.Source) (url, shared string, err error) {
	if s.Definition.AppWide {
		name := s.Spec.Source.Connection
		if name == "" {
			name = block.DefaultConnection
		}
		path := AppPath(s.Definition.Name, name)
		return a.PublicURL + path, path, nil
	}
	inst, err := a.Catalog.InstallationByEpoch(ctx, t.Epoch)
	if err != nil {
		return "", "", catalogError("read installation", err)
	}
	token, err := a.Vault.Unseal(TokenPurpose, inst.SealedToken)
	if err != nil {
		return "", "", catalogError("read webhook token", err)
	}
	return a.PublicURL + HookPath(string(token)), "", nil
}
