package engine

import (
	"context"
	"fmt"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
)

// resourceHeader is where Temporal's client repeats the workflow ID of a request, as a hint for routing.
const resourceHeader = "temporal-resource-id"

// asciiHeader lets workflow IDs be of any script: users' IDs stand in them, and a call with anything but printable ASCII in a header
// fails. Other bytes of the hint are percent-encoded; the request itself has the ID as it is.
func asciiHeader(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
	if md, ok := metadata.FromOutgoingContext(ctx); ok {
		values := md.Get(resourceHeader)
		for i, v := range values {
			values[i] = printable(v)
		}
		ctx = metadata.NewOutgoingContext(ctx, md)
	}
	return call(ctx, method, req, reply, conn, o...)
}

func printable(s string) string {
	var b strings.Builder
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// dialOptions are those of every connection to Temporal.
func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{grpc.WithChainUnaryInterceptor(asciiHeader)}
}
