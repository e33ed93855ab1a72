// Package connectors is the seam between the engine and the apps and destinations it talks to.
//
// A connector knows nothing of Temporal and nothing of the rest of Tributary; it imports this package
// only. Adding one is a package with a Definition plus one line in builtin.
package connectors

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// Definition describes a connector and opens it. One connector may be a source and a destination.
type Definition struct {
	// Name is what integration files say: lower case, digits and dashes.
	Name  string
	Title string
	// Doc is a paragraph for `starter connectors describe`.
	Doc string
	// Settings is a zero value of the struct that a block's `settings` decode into, nil for none; Connection
	// the same for stored credentials. Fields carry `json` names and `jsonschema` tags (description, required,
	// enum, default, minimum); a field that is secret has `format=password`.
	Settings   any
	Connection any
	// App, for an app that the operator has registered with the vendor and that many accounts install, is a zero value of the struct of that
	// app's own credentials, such as a client ID and secret; nil: there is no such thing. The operator stores them once (`starter connection set NAME --app`),
	// under the name of the connections that belong to the app.
	App any
	// Renewal renews connections whose credentials expire; nil: they do not.
	Renewal *Renewal
	// Streams lists the source's streams; AnyStream means that the block names them freely.
	Streams   []Stream
	AnyStream bool
	// Records says what a source's record is, its ID, key and version above all, and Limits what the app limits and what is done about it. They are for
	// `starter connectors describe` and the source's page.
	Records, Limits []Fact
	// AppWide says that all installations share one webhook URL and Received.Accounts tells them apart. Its webhooks are those of App.
	AppWide bool
	// OpenSource opens what implements Source, Receiver or both, and perhaps Subscriber and Checker; nil for a pure
	// destination. It validates the config and does no I/O.
	OpenSource func(Config) (any, error)
	// Polls and Receives say what OpenSource's value implements.
	Polls, Receives bool
	// OpenDestination opens a destination, perhaps a Checker; nil for a pure source. It may open pools but makes no round trip.
	OpenDestination func(Config) (Destination, error)
	// Modes lists the modes that the destination can do, the default first.
	Modes []Mode
	// Layouts lists the layouts that the destination can do, the default first; nil: LayoutRaw.
	Layouts []string
	// AccountOf, for sources, names the app's account that a connection belongs to (a shop's domain, a portal ID):
	// budgets are shared by it and app-wide deliveries are routed by it. Nil: no such thing.
	AccountOf func(connection json.RawMessage) string
	// Budget bounds how the account may be called; zero = unlimited.
	Budget Budget
}

// Stream is a collection that a source offers.
type Stream struct {
	Name string
	Doc  string
	// Polls and Receives say which triggers deliver it.
	Polls, Receives bool
	// Needs is the right that reading it needs, as the app calls it: access scopes, a resource. "" = what the Definition's Doc says.
	Needs string
}

// Fact is a row of what is to be known of a connector, in Markdown without a line's end or a bar.
type Fact struct{ Name, Doc string }

// Budget is what an app allows one account: Calls per Per, and Concurrent chunks read at once, each of which calls one
// after the other; 0 = unbounded. It is kept for all workers together.
type Budget struct {
	// Name tells several budgets of an account apart; "" is the Definition's.
	Name       string
	Calls      int
	Per        time.Duration
	Concurrent int
}

// Renewal exchanges a connection's credentials before they expire. The engine has one worker at a time renew a connection, and stores what
// Renew returns before anything uses it, so that a refresh token that was rotated is never lost.
type Renewal struct {
	// Due tells when the connection is to be renewed: well before its credentials expire. Zero: never.
	Due func(connection json.RawMessage) time.Time
	// Expires tells when the credentials stop working. Between Due and then others go on with them while one worker renews the connection;
	// from then on everybody waits for it. Nil or zero: they have stopped when they are due. It is quick and does no I/O, as Due.
	Expires func(connection json.RawMessage) time.Time
	// Renew returns the whole connection with new credentials. Config has Connection, App and Env; Settings is nil. Its error is an *Error:
	// Unauthorized when the user must connect the account again, Unavailable and RateLimited when it may work later.
	Renew func(ctx context.Context, c Config) (json.RawMessage, error)
}

// Config is what a connector is opened with.
type Config struct {
	// Settings and Connection are JSON, already valid against the schemas of the Definition's types; Connection is nil
	// where the block has none.
	Settings   json.RawMessage
	Connection json.RawMessage
	// App is the operator's credentials of the app that the connection belongs to, where Definition.App has any; nil where none are stored. The
	// receiver of an app-wide URL is opened with App alone: Connection is nil then.
	App json.RawMessage
	// Operator says that the connection is the operator's own, not a user's. Only such a one may stand for who the worker itself is,
	// such as the credentials that a cloud gives to the machine.
	Operator bool
	// Streams are the streams that a source block reads, so that Check can prove the right to them; nil where no block asks, such as
	// when a connection is checked by itself.
	Streams []string
	// Mode, Layout and Schema are the block's, for destinations; "" stands for the Definition's first and for Evolve.
	Mode   Mode
	Layout string
	Schema SchemaRule
	Env    Env
}

// Env is what the engine lends to connectors.
type Env struct {
	// Log never gets a secret or a payload.
	Log *slog.Logger
	// Transport is for requests to vendors' well-known hosts and to the operator's own servers.
	Transport http.RoundTripper
	// Networks are the networks inside the operator's own that a URL given by a user may lead to, although such
	// addresses are refused otherwise. Empty: none.
	Networks []*net.IPNet
	// Dir is where a local file without an absolute path lives.
	Dir string
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// Time reads the clock.
func (e Env) Time() time.Time {
	if e.Now != nil {
		return e.Now()
	}
	return time.Now()
}

// Logger never returns nil.
func (e Env) Logger() *slog.Logger {
	if e.Log != nil {
		return e.Log
	}
	return slog.New(slog.DiscardHandler)
}

// CheckFunc lets a function be a Checker.
type CheckFunc func(context.Context) error

// Check calls f.
func (f CheckFunc) Check(ctx context.Context) error { return f(ctx) }
