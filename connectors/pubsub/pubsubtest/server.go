// Package pubsubtest serves Pub/Sub in this process: the official fake, pstest, behind what the service refuses and pstest lets pass.
package pubsubtest

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"testing"
	"unicode/utf8"

	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"tributary/connectors/connectortest/documented"
)

// Limits of https://cloud.google.com/pubsub/quotas#resource_limits: of a publish request in bytes and messages, of a message in
// attributes, of an attribute in bytes of its key and value, of an ordering key in bytes.
const (
	maxRequest        = 10_000_000
	maxMessages       = 1000
	maxAttributes     = 100
	maxAttributeKey   = 256
	maxAttributeValue = 1024
	maxOrderingKey    = 1024
)

// Errors are the codes that https://cloud.google.com/pubsub/docs/reference/error-codes says a publisher may be answered with, and those that
// gRPC itself answers with (https://grpc.io/docs/guides/status-codes/).
var Errors = []codes.Code{
	codes.Canceled, codes.DeadlineExceeded, codes.FailedPrecondition, codes.Internal, codes.InvalidArgument, codes.NotFound,
	codes.PermissionDenied, codes.ResourceExhausted, codes.Unauthenticated, codes.Unavailable, codes.Unknown,
	codes.Aborted, codes.Unimplemented, codes.OutOfRange, codes.DataLoss, codes.AlreadyExists,
}

// Documented are the errors that a server may return, to be given to New and looked at when all tests have run.
func Documented() *documented.Errors {
	names := make([]string, len(Errors))
	for i, code := range Errors {
		names[i] = code.String()
	}
	return documented.New(names...)
}

// Options make a server stricter. The zero value speaks in the clear and asks nobody who he is, as the emulator does.
type Options struct {
	// Certificate makes it speak TLS.
	Certificate *tls.Certificate
	// Authorize judges the authorization header of each call; an error is answered as UNAUTHENTICATED.
	Authorize func(header string) error
	// Emulator has no IAM: https://cloud.google.com/pubsub/docs/emulator#limitations
	Emulator bool
	// Returned counts the errors that it returns; nil = nobody counts them.
	Returned *documented.Errors
}

// Server is a running server. Addr is its host:port.
type Server struct {
	Addr    string
	options Options
	fake    *pstest.Server

	mu       sync.Mutex
	schemas  map[string]func(data []byte) bool
	denied   map[string]bool
	settings map[string]*pubsubpb.SchemaSettings
	reason   string
	fail     func(*pubsubpb.PublishRequest) error
	hold     func()
	requests int
}

// New starts a server that ends with the test.
func New(t testing.TB, o Options) *Server {
	t.Helper()
	s := &Server{options: o, fake: pstest.NewServer(), schemas: make(map[string]func([]byte) bool), denied: make(map[string]bool), settings: make(map[string]*pubsubpb.SchemaSettings)}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.Addr = listener.Addr().String()
	options := []grpc.ServerOption{grpc.UnaryInterceptor(s.counted), grpc.MaxRecvMsgSize(2 * maxRequest)}
	if o.Certificate != nil {
		options = append(options, grpc.Creds(credentials.NewServerTLSFromCert(o.Certificate)))
	}
	server := grpc.NewServer(options...)
	pubsubpb.RegisterPublisherServer(server, &s.fake.GServer)
	pubsubpb.RegisterSubscriberServer(server, &s.fake.GServer)
	if !o.Emulator {
		iampb.RegisterIAMPolicyServer(server, &policy{server: s})
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		server.Stop()
		if err := <-done; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // it was stopped before it served
			t.Error(err)
		}
		if err := s.fake.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// CreateTopic makes a topic by its full name, projects/P/topics/T. A schema, when there is one, says which data fits.
func (s *Server) CreateTopic(t testing.TB, name string, schema func(data []byte) bool) {
	t.Helper()
	if _, err := s.fake.GServer.CreateTopic(t.Context(), &pubsubpb.Topic{Name: name}); err != nil {
		t.Fatal(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schemas[name] = schema
}

// Rights that Deny takes away.
const (
	Publish = "pubsub.topics.publish"
	Get     = "pubsub.topics.get"
)

// Deny takes rights to a topic away.
func (s *Server) Deny(topic string, rights ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, right := range rights {
		s.denied[topic+" "+right] = true
	}
}

// SetSchema has a topic say that it has a schema.
func (s *Server) SetSchema(topic string, settings *pubsubpb.SchemaSettings) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.settings[topic] = settings
}

// RefuseProject has every call answered as for a project that may not be used, for a reason of
// https://github.com/googleapis/googleapis/blob/master/google/api/error_reason.proto.
func (s *Server) RefuseProject(reason string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reason = reason
}

// Fail asks f about each Publish: its error is the answer, nil lets the request pass. f is called by one request at a time.
func (s *Server) Fail(f func(*pubsubpb.PublishRequest) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// Hold calls f in each Publish, which waits for it to return.
func (s *Server) Hold(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hold = f
}

// Messages are those published, in order.
func (s *Server) Messages() []*pstest.Message { return s.fake.Messages() }

// Clear forgets the messages.
func (s *Server) Clear() { s.fake.ClearMessages() }

// Requests counts the Publish requests that were answered with success.
func (s *Server) Requests() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.requests
}

// counted counts the errors that intercept answers with.
func (s *Server) counted(ctx context.Context, req any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	answer, err := s.intercept(ctx, req, info, handle)
	if err != nil {
		s.options.Returned.Return(status.Code(err).String())
	}
	return answer, err
}

func (s *Server) intercept(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
	if s.options.Authorize != nil {
		header := metadata.ValueFromIncomingContext(ctx, "authorization")
		if len(header) != 1 || s.options.Authorize(header[0]) != nil {
			return nil, status.Error(codes.Unauthenticated, "Request had invalid authentication credentials.")
		}
	}
	if m, ok := req.(proto.Message); ok && unknown(m.ProtoReflect()) {
		return nil, status.Error(codes.InvalidArgument, "a field is not known")
	}
	s.mu.Lock()
	reason := s.reason
	s.mu.Unlock()
	if reason != "" {
		refused, err := status.New(codes.PermissionDenied, "The project may not be used.").WithDetails(&errdetails.ErrorInfo{Reason: reason, Domain: "googleapis.com"})
		if err != nil {
			return nil, err
		}
		return nil, refused.Err()
	}
	switch r := req.(type) {
	case *pubsubpb.PublishRequest:
		s.mu.Lock()
		hold := s.hold
		s.mu.Unlock()
		if hold != nil {
			hold()
		}
		if err := s.judge(r); err != nil {
			return nil, err
		}
	case *pubsubpb.GetTopicRequest:
		if s.isDenied(r.Topic, Get) {
			return nil, status.Error(codes.PermissionDenied, "User not authorized to perform this action.")
		}
		answer, err := handle(ctx, req)
		if topic, ok := answer.(*pubsubpb.Topic); ok && err == nil {
			s.mu.Lock()
			defer s.mu.Unlock()
			if settings := s.settings[r.Topic]; settings != nil {
				topic = proto.Clone(topic).(*pubsubpb.Topic)
				topic.SchemaSettings = settings
			}
			return topic, nil
		}
		return answer, err
	}
	return handle(ctx, req)
}

// judge answers as the service does. What it refuses of a request it refuses whole.
func (s *Server) judge(r *pubsubpb.PublishRequest) error {
	if s.isDenied(r.Topic, Publish) {
		return status.Error(codes.PermissionDenied, "User not authorized to perform this action.")
	}
	if len(r.Messages) == 0 || len(r.Messages) > maxMessages || proto.Size(r) > maxRequest {
		return status.Error(codes.InvalidArgument, "The value for message_count or the size of the request is out of range.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range r.Messages {
		if err := judgeMessage(m); err != nil {
			return err
		}
		// https://cloud.google.com/pubsub/docs/reference/rpc/google.pubsub.v1#pubsubmessage: all of a request have the same key.
		if m.OrderingKey != r.Messages[0].OrderingKey {
			return status.Error(codes.InvalidArgument, "In a single publish request, all messages must have the same ordering key.")
		}
		// https://cloud.google.com/pubsub/docs/schemas: a message that doesn't match fails the publish request.
		if fits := s.schemas[r.Topic]; fits != nil && !fits(m.Data) {
			return status.Error(codes.InvalidArgument, "Invalid data in message: Message failed schema validation.")
		}
	}
	if s.fail != nil {
		if err := s.fail(r); err != nil {
			return err
		}
	}
	s.requests++
	return nil
}

func judgeMessage(m *pubsubpb.PubsubMessage) error {
	if len(m.Data) == 0 && len(m.Attributes) == 0 || m.MessageId != "" || m.PublishTime != nil {
		return status.Error(codes.InvalidArgument, "A message must have data or attributes, and neither an ID nor a time.")
	}
	if len(m.Attributes) > maxAttributes || len(m.OrderingKey) > maxOrderingKey {
		return status.Error(codes.InvalidArgument, "The message has too many attributes or too long an ordering key.")
	}
	for key, value := range m.Attributes {
		if key == "" || len(key) > maxAttributeKey || len(value) > maxAttributeValue || !utf8.ValidString(key+value) {
			return status.Error(codes.InvalidArgument, "One of the attributes in the request has a key or value that is too long.")
		}
	}
	return nil
}

func (s *Server) isDenied(topic, right string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.denied[topic+" "+right]
}

// unknown says whether a message or one in it has fields that the protocol doesn't know.
func unknown(m protoreflect.Message) bool {
	found := len(m.GetUnknown()) > 0
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() || f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				found = found || unknown(v.List().Get(i).Message())
			}
		default:
			found = found || unknown(v.Message())
		}
		return !found
	})
	return found
}

// policy answers what is permitted: of what does not exist, nothing
// (https://github.com/googleapis/googleapis/blob/master/google/iam/v1/iam_policy.proto, TestIamPermissions).
type policy struct {
	iampb.UnimplementedIAMPolicyServer
	server *Server
}

func (p *policy) TestIamPermissions(ctx context.Context, r *iampb.TestIamPermissionsRequest) (*iampb.TestIamPermissionsResponse, error) {
	_, err := p.server.fake.GServer.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: r.Resource})
	var permitted []string
	for _, right := range r.Permissions {
		if err == nil && !p.server.isDenied(r.Resource, right) {
			permitted = append(permitted, right)
		}
	}
	return &iampb.TestIamPermissionsResponse{Permissions: permitted}, nil
}
