package mongodb

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/auth"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// codes maps the server's error codes to kinds (I9), with what to do where that is known. https://www.mongodb.com/docs/manual/reference/error-codes/, and for servers of
// later versions https://github.com/mongodb/mongo/blob/master/src/mongo/base/error_codes.yml. What blocks writes (371): https://www.mongodb.com/docs/manual/reference/command/setUserWriteBlockMode/
// The table stands in docs/destinations/mongodb.md too.
var codes = map[int]struct {
	kind  connectors.Kind
	what  string
	names string
}{
	11:    {connectors.Unauthorized, "the server does not know the user: give another, or the right auth_source", "UserNotFound"},
	18:    {connectors.Unauthorized, "the server does not accept the user and password: give others, or the right auth_source", "AuthenticationFailed"},
	334:   {connectors.Unauthorized, "the server does not offer this way to authenticate: set authMechanism in the URL", "MechanismUnavailable"},
	13:    {connectors.Forbidden, "", "Unauthorized"},
	26:    {connectors.NotFound, "the collection or database does not exist", "NamespaceNotFound"},
	2:     {connectors.Invalid, "the server does not take the command", "BadValue"},
	9:     {connectors.Invalid, "the server does not take the command", "FailedToParse"},
	20:    {connectors.Invalid, "the server does not do this: want a replica set member, a sharded cluster or a standalone of MongoDB 5.0 or later", "IllegalOperation"},
	59:    {connectors.Invalid, "the server does not know the command", "CommandNotFound"},
	72:    {connectors.Invalid, "the server does not take an option of the command", "InvalidOptions"},
	73:    {connectors.Invalid, "the server does not take the name of the collection", "InvalidNamespace"},
	79:    {connectors.Invalid, "the server does not know the write concern", "UnknownReplWriteConcern"},
	85:    {connectors.Invalid, "an index with other options is there", "IndexOptionsConflict"},
	86:    {connectors.Invalid, "an index of that name is there", "IndexKeySpecsConflict"},
	166:   {connectors.Invalid, "it is a view: give a collection", "CommandNotSupportedOnView"},
	238:   {connectors.Invalid, "the server does not do this", "NotImplemented"},
	6:     {connectors.Unavailable, "a server behind it can't be reached", "HostUnreachable"},
	7:     {connectors.Unavailable, "a server behind it is not found", "HostNotFound"},
	24:    {connectors.Unavailable, "a lock was not to be had in time", "LockTimeout"},
	50:    {connectors.Unavailable, "the server took too long", "MaxTimeMSExpired"},
	64:    {connectors.Unavailable, "the members of the replica set did not confirm the write", "WriteConcernFailed"},
	89:    {connectors.Unavailable, "a server behind it did not answer in time", "NetworkTimeout"},
	91:    {connectors.Unavailable, "the server is shutting down", "ShutdownInProgress"},
	100:   {connectors.Unavailable, "the replica set has too few members for a majority", "UnsatisfiableWriteConcern"},
	112:   {connectors.Unavailable, "the write met another one", "WriteConflict"},
	133:   {connectors.Unavailable, "no member of the replica set can take the write", "FailedToSatisfyReadPreference"},
	175:   {connectors.Unavailable, "the collection was dropped or renamed meanwhile", "QueryPlanKilled"},
	189:   {connectors.Unavailable, "another member became primary", "PrimarySteppedDown"},
	202:   {connectors.Unavailable, "a server behind it is out of connections", "NetworkInterfaceExceededTimeLimit"},
	262:   {connectors.Unavailable, "the server took too long", "ExceededTimeLimit"},
	276:   {connectors.Unavailable, "an index is being built", "IndexBuildAborted"},
	365:   {connectors.Unavailable, "the server's cache is too full for the write at the moment", "TemporarilyUnavailable"},
	371:   {connectors.Unavailable, "an administrator has blocked writes: they go on when setUserWriteBlockMode lets them", "UserWritesBlocked"},
	433:   {connectors.Unavailable, "the server is overloaded and queues no more requests", "AdmissionQueueOverflow"},
	9001:  {connectors.Unavailable, "a connection between servers broke", "SocketException"},
	10058: {connectors.Unavailable, "the member is not the primary", "LegacyNotPrimary"},
	10107: {connectors.Unavailable, "the member is not the primary", "NotWritablePrimary"},
	11600: {connectors.Unavailable, "the server is shutting down", "InterruptedAtShutdown"},
	11601: {connectors.Unavailable, "somebody ended the operation", "Interrupted"},
	11602: {connectors.Unavailable, "another member became primary", "InterruptedDueToReplStateChange"},
	13388: {connectors.Unavailable, "the chunks of the cluster moved", "StaleConfig"},
	13435: {connectors.Unavailable, "the member is not the primary", "NotPrimaryNoSecondaryOk"},
	13436: {connectors.Unavailable, "the member is not the primary", "NotPrimaryOrSecondary"},
	14031: {connectors.Unavailable, "the server's disk is full", "OutOfDiskSpace"},
	449:   {connectors.RateLimited, "the server takes no more requests at the moment", "RateLimitExceeded"},
	462:   {connectors.RateLimited, "the server takes no more requests at the moment", "IngressRequestRateLimitExceeded"},
	16500: {connectors.RateLimited, "the account's throughput is used up", "TooManyRequests"},
}

// rows are the codes of errors that lie in a document, in words that quote nothing of it: the server's message does.
var rows = map[int]string{
	15:    "it is nested deeper than MongoDB allows",
	22:    "MongoDB does not take it as BSON",
	52:    "a field's name begins with $",
	56:    "a field's name is empty",
	57:    "a field's name has a dot",
	121:   "it breaks the validation rule of the collection",
	10334: "it is larger than MongoDB allows",
	17280: "a value is too long for an index",
	17419: "it is larger than MongoDB allows",
	17420: "it is larger than MongoDB allows",
}

// duplicates are the codes of a broken unique index.
var duplicates = []int{11000, 11001, 12582}

// problem is what the server has against one document of many: that it breaks a unique index; that it never takes it, with the reason; or that it failed.
type problem struct {
	duplicate bool
	index     string // the unique index; "" if the server does not say which
	reason    string
	failure   *connectors.Error
}

func otherIndex(name string) string {
	if name == "" {
		return "it breaks a unique index that was added to the collection (code 11000)"
	}
	return fmt.Sprintf("it breaks a unique index that was added to the collection: %q (code 11000)", connectors.Clip(name, 100))
}

// problems takes apart what the driver returned for a write of many documents: problems by their index, or the error by which nothing is known
// of any.
func (c *client) problems(op string, err error) (map[int]*problem, error) {
	if err == nil {
		return nil, nil
	}
	var bulk mongo.BulkWriteException
	if !errors.As(err, &bulk) || bulk.WriteConcernError == nil && len(bulk.WriteErrors) == 0 {
		return nil, c.failed(op, err)
	}
	if wc := bulk.WriteConcernError; wc != nil {
		e := c.coded(op, wc.Code, wc.Name, bulk.Labels, bulk)
		if e.Kind == connectors.Unknown {
			e.Kind = connectors.Unavailable // written, not confirmed
		}
		return nil, e
	}
	problems := make(map[int]*problem, len(bulk.WriteErrors))
	for _, we := range bulk.WriteErrors {
		p := &problem{}
		reason, row := rows[we.Code]
		switch {
		case slices.Contains(duplicates, we.Code):
			p.duplicate, p.index = true, brokenIndex(we)
		case row:
			p.reason = fmt.Sprintf("%s (code %d)", reason, we.Code)
		case we.Code == 2 || we.Code == 9: // the command is always the same
			p.reason = fmt.Sprintf("MongoDB does not take a value in it (code %d)", we.Code)
		default:
			p.failure = c.coded(op, we.Code, "", bulk.Labels, nil)
		}
		problems[we.Index] = p
	}
	return problems, nil
}

// brokenIndex is the name of the unique index that a document breaks, "" if the server does not say. Since version 4.2 the answer has the pattern of its keys;
// the message names it.
func brokenIndex(we mongo.BulkWriteError) string {
	if keys, err := we.Raw.LookupErr("keyPattern"); err == nil {
		if pattern, ok := keys.DocumentOK(); ok {
			if elements, err := pattern.Elements(); err == nil && len(elements) == 1 && elements[0].Key() == "_id" {
				return "_id_"
			}
		}
	}
	_, name, found := strings.Cut(we.Message, " index: ")
	if !found {
		return ""
	}
	name, _, _ = strings.Cut(name, " dup key")
	return strings.TrimSpace(name)
}

// coded is an error of the server. Its message may quote a document or a user and is not repeated.
func (c *client) coded(op string, code int, name string, labels []string, err error) *connectors.Error {
	known, ok := codes[code]
	e := &connectors.Error{Kind: known.kind, Op: op, Message: known.what, Err: err}
	if ok {
		name = known.names
	} else {
		e.Kind, e.Message = connectors.Unknown, "the server at "+c.where+" refused it"
		for _, label := range []string{"RetryableWriteError", "TransientTransactionError", "NetworkError", "RetryableError", "SystemOverloadedError"} {
			if slices.Contains(labels, label) {
				e.Kind = connectors.Unavailable
			}
		}
	}
	if e.Kind == connectors.Forbidden {
		e.Message = "the user lacks rights; " + c.grant()
	}
	e.Message += fmt.Sprintf(" (code %d", code)
	if name != "" {
		e.Message += ", " + connectors.Clip(name, 60)
	}
	e.Message += ")"
	return e
}

// grant says what an administrator has to do.
func (c *client) grant() string {
	return fmt.Sprintf(`an administrator runs: db.grantRolesToUser("<user>", [{role: "readWrite", db: %q}])`, c.database)
}

// failed turns what the driver returned into an *Error. No message of a server or of the driver is repeated (I7).
func (c *client) failed(op string, err error) *connectors.Error {
	var e *connectors.Error
	if errors.As(err, &e) {
		return e
	}
	// A pool that was emptied, because a connection failed or the user was not accepted, gives none for a moment and tells why in words alone.
	var empty driver.RetryablePoolError
	if errors.As(err, &empty) {
		reason := errors.New("a pool was emptied")
		if why := c.emptied.Load(); why != nil {
			reason = *why
		}
		err = topology.ConnectionError{Wrapped: reason}
	}
	var handshake *auth.Error
	var inner driver.Error
	var command mongo.CommandError
	switch {
	case errors.As(err, &handshake) && !network(err):
		if errors.As(err, &inner) && codes[int(inner.Code)].kind != "" && codes[int(inner.Code)].kind != connectors.Invalid {
			return c.coded(op, int(inner.Code), "", nil, err)
		}
		return &connectors.Error{Kind: connectors.Unauthorized, Op: op, Message: "the server at " + c.where + " does not accept the user and password", Err: err}
	case errors.As(err, &command) && command.Code > 0:
		e := c.coded(op, int(command.Code), command.Name, command.Labels, err)
		// https://learn.microsoft.com/en-us/azure/cosmos-db/mongodb/prevent-rate-limiting-errors
		if ms, err := command.Raw.LookupErr("RetryAfterMs"); err == nil {
			if n, ok := ms.AsInt64OK(); ok && n > 0 {
				e.Wait = time.Duration(n) * time.Millisecond
			}
		}
		return e
	}
	e = &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: "the connection to " + c.where + " failed", Err: err}
	var (
		unknown  x509.UnknownAuthorityError
		hostname x509.HostnameError
		bad      x509.CertificateInvalidError
		verify   *tls.CertificateVerificationError
		header   tls.RecordHeaderError
		op1      *net.OpError
		lookup   *net.DNSError
		size     = errors.Is(err, driver.ErrDocumentTooLarge)
		cause    = causes(err)
	)
	switch {
	case size:
		e.Kind, e.Message = connectors.TooLarge, "a document is larger than the server takes"
	case errors.Is(cause, outbound.ErrRefused):
		e.Kind = connectors.Invalid
		e.Message = "the address of " + c.where + ", or of a member that it names, is inside the network or reserved: give a public host, or let the operator allow its network"
	case errors.As(cause, &unknown) || errors.As(cause, &hostname) || errors.As(cause, &bad) || errors.As(cause, &verify):
		e.Kind = connectors.Invalid
		e.Message = "the certificate of " + c.where + " is not to be trusted: give the right host and, as ca, the authority that signed it"
	case errors.As(cause, &header):
		e.Kind = connectors.Invalid
		e.Message = c.where + " does not speak TLS: set tls to off if it may be spoken to in the clear"
	case errors.As(cause, &lookup):
		e.Message = "the name " + c.where + " is not found"
	case errors.As(cause, &op1) && op1.Err != nil:
		e.Message = "can't reach " + c.where + ": the connection failed"
	case errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || mongo.IsTimeout(err):
		e.Message = "timed out or cancelled at " + c.where
	case errors.Is(err, mongo.ErrClientDisconnected):
		e.Message = "the destination is being closed"
	case !network(err) && !errors.As(err, new(topology.ServerSelectionError)) && !errors.As(err, new(topology.ConnectionError)):
		return connectors.AsError(op, err)
	}
	return e
}

// network says that a connection failed, not what was sent over it.
func network(err error) bool {
	var n net.Error
	return mongo.IsNetworkError(err) || errors.As(err, &n) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// causes joins an error with what the servers that were looked for failed with last: the driver says only that none was found.
func causes(err error) error {
	all := []error{err}
	var selection topology.ServerSelectionError
	if errors.As(err, &selection) {
		for _, server := range selection.Desc.Servers {
			all = append(all, server.LastError)
		}
	}
	return errors.Join(all...)
}
