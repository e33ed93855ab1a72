package receiver

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"time"

	"tributary/connectors"
	"tributary/internal/catalog"
)

const tokenBytes = 32

// NewToken makes the unguessable last part of an installation's webhook URL, and the hash that the catalog finds it by.
func NewToken() (token string, hash [32]byte) {
	var b [tokenBytes]byte
	rand.Read(b[:]) // never fails
	token = base64.RawURLEncoding.EncodeToString(b[:])
	return token, HashToken(token)
}

// HashToken is what the catalog keeps of a token.
func HashToken(token string) [32]byte { return sha256.Sum256([]byte(token)) }

type receiverKey struct {
	epoch    string
	revision int
}

type integrationKey struct {
	name     string
	revision int
}

// opened is a source ready to receive.
type opened struct {
	receiver connectors.Receiver
	streams  []string
}

// hook receives for one installation.
func (s *Server) hook(w http.ResponseWriter, r *http.Request) *refusal {
	received := time.Now()
	ctx := r.Context()
	token := r.PathValue("token")
	if len(token) != base64.RawURLEncoding.EncodedLen(tokenBytes) {
		return refuseUnknown
	}
	hash := HashToken(token)
	in, err := s.installations.get(ctx, hash, func(ctx context.Context) (catalog.Installation, error) {
		return s.cfg.Catalog.InstallationByToken(ctx, hash)
	})
	switch {
	case isNotFound(err):
		return refuseUnknown
	case err != nil:
		return refuseDirectory.because(err)
	case in.State == catalog.Ended:
		return refuseEnded
	case !s.each.allow(in.Epoch):
		return refuseRate
	}
	if _, refused := s.accepts(ctx, in); refused != nil {
		return refused
	}
	source, err := s.receivers.get(ctx, receiverKey{in.Epoch, in.Revision}, func(ctx context.Context) (opened, error) {
		receiver, streams, err := s.cfg.Opener.Receiver(ctx, in)
		return opened{receiver, streams}, err
	})
	if err != nil {
		return refuseOpen.because(err)
	}
	return s.receive(w, r, received, source.receiver, func(got connectors.Received) ([]part, []unusable, *refusal) {
		if got.Accounts != nil {
			return nil, nil, refuseConnector.because(errors.New("a connector named accounts on a URL of one installation"))
		}
		parts := []part{{in, s.wanted(got.Records, source.streams)}}
		if got.Unusable == nil {
			return parts, nil, nil
		}
		return parts, []unusable{{in.ID, in.Epoch, got.Unusable}}, nil
	})
}

// accepts says whether the installation takes records now, and what its integration is. One that is deactivated takes them: its
// installations are paused and keep what comes, which the app would not send for ever.
func (s *Server) accepts(ctx context.Context, in catalog.Installation) (catalog.Integration, *refusal) {
	key := integrationKey{in.Integration, in.Revision}
	of, err := s.integrations.get(ctx, key, func(ctx context.Context) (catalog.Integration, error) {
		return s.cfg.Catalog.Integration(ctx, key.name, key.revision)
	})
	switch {
	case err != nil:
		return of, refuseDirectory.because(err)
	case in.Pressure:
		return of, refusePressure
	}
	return of, nil
}

// wanted leaves out records of streams that the integration did not ask for.
func (s *Server) wanted(records []connectors.Record, streams []string) []connectors.Record {
	all := len(records)
	records = slices.DeleteFunc(records, func(r connectors.Record) bool { return !slices.Contains(streams, r.Stream) })
	if n := all - len(records); n > 0 {
		s.cfg.Metrics.unrequested.Add(float64(n))
	}
	return records
}

// receive reads the body, lets the connector authenticate and parse it (I13), and answers when what it holds is durable
// (I2). route says whose the records are, and whose what can't be understood is.
func (s *Server) receive(w http.ResponseWriter, r *http.Request, received time.Time, receiver connectors.Receiver,
	route func(connectors.Received) ([]part, []unusable, *refusal)) *refusal {
	body := getBuffer()
	if refused := readBody(r, body, s.limits.BodyBytes); refused != nil {
		putBuffer(body)
		return refused
	}
	url := s.cfg.PublicURL + r.URL.RequestURI()
	got, err := receiver.Receive(r.Context(), connectors.Delivery{
		Method: r.Method, URL: url, Header: r.Header, Body: *body, ReceivedAt: received,
	})
	var refused *refusal
	if err != nil {
		refused = refuseReceive(err)
	} else if refused = check(got); refused == nil {
		var parts []part
		var bad []unusable
		if parts, bad, refused = route(got); refused == nil {
			refused = s.keep(r.Context(), received, parts)
		}
		// After the records: these must not wait for a quarantine that is out of order, and are recognised when they come again.
		if refused == nil {
			refused = s.putAside(r.Context(), bad)
		}
	}
	if refused == nil {
		s.cfg.Metrics.accepted.Inc()
		s.cfg.Metrics.receivedBytes.Add(float64(len(*body)))
		reply(w, got.Reply)
	}
	// Not deferred: a connector that panicked may still hold the body.
	putBuffer(body)
	return refused
}

// check refuses records that no destination could key by, and a request of which too much can't be understood.
func check(got connectors.Received) *refusal {
	if len(got.Unusable) > maxUnusable {
		return refuseInvalid.because(errUnusable)
	}
	for i := range got.Records {
		r := &got.Records[i]
		switch {
		case !isName(r.ID) || r.ID == "" || !isName(r.Key):
			return refuseInvalid.because(errors.New("a record's ID or key is empty, too long or not plain text"))
		case r.Stream == "" || r.Op != connectors.Upsert && r.Op != connectors.Delete:
			return refuseConnector.because(errors.New("a connector returned a record without stream or operation"))
		}
	}
	return nil
}

func reply(w http.ResponseWriter, a *connectors.Reply) {
	if a == nil {
		w.WriteHeader(http.StatusOK)
		return
	}
	if a.ContentType != "" {
		w.Header().Set("Content-Type", a.ContentType)
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	status := a.Status
	if status < 200 || status > 599 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	_, _ = w.Write(a.Body)
}
