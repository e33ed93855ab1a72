package receiver

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
)

type appKey struct{ connector, connection string }
type accountKey struct{ connector, account string }

// app receives on a URL that all installations of a connector share: the operator's connection verifies the request and
// the account of each record says whose it is.
func (s *Server) app(w http.ResponseWriter, r *http.Request) *refusal {
	received := time.Now()
	ctx := r.Context()
	key := appKey{r.PathValue("connector"), r.PathValue("connection")}
	if len(key.connector) > 100 || len(key.connection) > 100 {
		return refuseUnknown
	}
	receiver, err := s.apps.get(ctx, key, func(ctx context.Context) (connectors.Receiver, error) {
		return s.cfg.Opener.AppReceiver(ctx, key.connector, key.connection)
	})
	switch {
	case isKind(err, connectors.NotFound):
		return refuseUnknown
	case err != nil:
		return refuseOpen.because(err)
	case !s.each.allow(key.connector + "/" + key.connection):
		return refuseRate
	}
	return s.receive(w, r, received, receiver, func(got connectors.Received) ([]part, *refusal) {
		return s.routeByAccount(ctx, key.connector, got)
	})
}

// routeByAccount finds the installations of each record's account. Where at least one of them takes records now, all get
// theirs: one that is paused must not make the app hold back the others' (I11). When none does, the request is refused.
func (s *Server) routeByAccount(ctx context.Context, connector string, got connectors.Received) ([]part, *refusal) {
	if len(got.Accounts) != len(got.Records) {
		return nil, refuseConnector.because(fmt.Errorf("connector %s named %d accounts for %d records", connector, len(got.Accounts), len(got.Records)))
	}
	byAccount := map[string][]connectors.Record{}
	var accounts []string // in the order of the request
	for i, account := range got.Accounts {
		if _, seen := byAccount[account]; !seen {
			accounts = append(accounts, account)
		}
		byAccount[account] = append(byAccount[account], got.Records[i])
	}
	var parts []part
	var held *refusal
	takes := false
	for _, account := range accounts {
		key := accountKey{connector, account}
		all, err := s.accounts.get(ctx, key, func(ctx context.Context) ([]catalog.Installation, error) {
			return s.cfg.Catalog.InstallationsByAccount(ctx, connector, account)
		})
		if err != nil && !isNotFound(err) {
			return nil, refuseDirectory.because(err)
		}
		found := false
		for _, in := range all {
			if in.State == catalog.Ended {
				continue
			}
			found = true
			of, refused := s.accepts(ctx, in)
			switch {
			case refused == nil:
				takes = true
			case refused.reason == refuseDirectory.reason:
				return nil, refused
			default:
				held = refused
			}
			parts = append(parts, part{in, s.wanted(append([]connectors.Record(nil), byAccount[account]...), of.Spec.Source.Streams)})
		}
		if !found {
			s.cfg.Metrics.unrouted.Add(float64(len(byAccount[account])))
			if s.quiet.Allow() {
				s.log.Info("acknowledged records of an account that nobody installed", "connector", connector, "records", len(byAccount[account]))
			}
		}
	}
	if held != nil && !takes {
		return nil, held
	}
	return parts, nil
}
