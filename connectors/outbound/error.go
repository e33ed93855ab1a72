package outbound

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"

	"tributary/connectors"
)

// AsError turns an error of dialling or of a Client's exchange into what an operator may read: it holds neither the URL nor
// an address nor anything that the other side sent (I7). A refused address is Invalid; whatever else keeps an answer away is
// Unavailable, bad certificates too, because they are renewed without anybody telling us.
func AsError(op string, err error) *connectors.Error {
	var known *connectors.Error
	if err == nil || errors.As(err, &known) {
		return known
	}
	kind, message := explain(err)
	return &connectors.Error{Kind: kind, Op: op, Message: message, Err: err}
}

func explain(err error) (connectors.Kind, string) {
	var (
		dns      *net.DNSError
		hostname x509.HostnameError
		issuer   x509.UnknownAuthorityError
		invalid  x509.CertificateInvalidError
		record   tls.RecordHeaderError
		remote   *net.OpError // crypto/tls makes one of an alert that the other side sent
		tooLarge *http.MaxBytesError
		timed    net.Error
	)
	switch {
	case errors.Is(err, ErrRefused):
		return connectors.Invalid, "the host's address is inside the network or reserved: give a public host, or let the operator allow its network"
	case errors.As(err, &tooLarge):
		return connectors.Unknown, "the answer is too large"
	case errors.As(err, &dns) && dns.IsNotFound:
		return connectors.Unavailable, "the host name does not exist"
	case errors.As(err, &dns):
		return connectors.Unavailable, "the host name could not be resolved"
	case errors.As(err, &hostname):
		return connectors.Unavailable, "the host's certificate is for another name"
	case errors.As(err, &issuer):
		return connectors.Unavailable, "the host's certificate is from an authority that is not trusted"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return connectors.Unavailable, "the host's certificate has expired or is not valid yet"
	case errors.As(err, &invalid):
		return connectors.Unavailable, "the host's certificate is not valid"
	case errors.As(err, &record):
		return connectors.Unavailable, "the host does not speak TLS on this port"
	case errors.As(err, &remote) && remote.Op == "remote error":
		return connectors.Unavailable, "the host refused the TLS handshake; version 1.2 or later is needed"
	case errors.Is(err, context.Canceled):
		return connectors.Unavailable, "cancelled"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), errors.As(err, &timed) && timed.Timeout():
		return connectors.Unavailable, "no answer in time"
	case errors.Is(err, syscall.ECONNREFUSED):
		return connectors.Unavailable, "the host refuses connections"
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return connectors.Unavailable, "the host cannot be reached"
	}
	return connectors.Unavailable, "the connection broke before an answer came"
}
