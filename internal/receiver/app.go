package receiver

import (
	"context"
	"fmt"
	"net/http"
	"slices"
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
	return s.receive(w, r, received, receiver, func(got connectors.Received) ([]part, []unusable, *refusal) {
		parts, refused := s.routeByAccount(ctx, key.connector, got)
		if refused != nil {
			return nil, nil, refused
		}
		bad, refused := s.ownersOf(ctx, key, got.Unusable)
		return parts, bad, refused
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
		all, refused := s.installed(ctx, connector, account)
		if refused != nil {
			return nil, refused
		}
		for _, in := range all {
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
		if len(all) == 0 {
			s.countUnrouted(connector, len(byAccount[account]))
		}
	}
	if held != nil && !takes {
		return nil, held
	}
	return parts, nil
}

// installed finds the installations of an account that have not ended.
func (s *Server) installed(ctx context.Context, connector, account string) ([]catalog.Installation, *refusal) {
	all, err := s.accounts.get(ctx, accountKey{connector, account}, func(ctx context.Context) ([]catalog.Installation, error) {
		return s.cfg.Catalog.InstallationsByAccount(ctx, connector, account)
	})
	if err != nil && !isNotFound(err) {
		return nil, refuseDirectory.because(err)
	}
	var live []catalog.Installation
	for _, in := range all {
		if in.State != catalog.Ended {
			live = append(live, in)
		}
	}
	return live, nil
}

func (s *Server) countUnrouted(connector string, records int) {
	s.cfg.Metrics.unrouted.Add(float64(records))
	if s.quiet.Allow() {
		s.log.Info("acknowledged records of an account that nobody installed", "connector", connector, "records", records)
	}
}

// ownersOf finds whose quarantine gets what can't be understood: that of the account's installations, and where it names no account the operator's, which is
// called by the URL's path. No installation has that name.
func (s *Server) ownersOf(ctx context.Context, key appKey, parts []connectors.Unusable) ([]unusable, *refusal) {
	var all []unusable
	add := func(installation, epoch string, p connectors.Unusable) {
		i := slices.IndexFunc(all, func(u unusable) bool { return u.epoch == epoch })
		if i < 0 {
			i = len(all)
			all = append(all, unusable{installation: installation, epoch: epoch})
		}
		all[i].parts = append(all[i].parts, p)
	}
	for _, p := range parts {
		if p.Account == "" {
			add("/apps/"+key.connector+"/"+key.connection, "app-"+key.connector, p)
			continue
		}
		owners, refused := s.installed(ctx, key.connector, p.Account)
		if refused != nil {
			return nil, refused
		}
		for _, in := range owners {
			add(in.ID, in.Epoch, p)
		}
		if len(owners) == 0 {
			s.countUnrouted(key.connector, 1)
		}
	}
	return all, nil
}
