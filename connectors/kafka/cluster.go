package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"tributary/connectors"
	"tributary/connectors/outbound"
)

// Connection is how to reach a cluster.
type Connection struct {
	Brokers []string `json:"brokers" jsonschema:"required,minItems=1,description=Some of the cluster's brokers as host:port"`
	TLS     TLS      `json:"tls,omitempty" jsonschema:"description=off only for a network that is yours,enum=on,enum=off,default=on"`
	CA      string   `json:"ca,omitempty" jsonschema:"description=PEM text of the authority that signed the brokers' certificates; without it the system's authorities are trusted"`
	// ClientCert and ClientKey are for brokers that know their clients by certificate.
	ClientCert string `json:"client_cert,omitempty" jsonschema:"description=PEM text of the client's certificate"`
	ClientKey  string `json:"client_key,omitempty" jsonschema:"description=PEM text of its key,format=password"`
	SASL       SASL   `json:"sasl,omitempty" jsonschema:"description=How the user is proven; without it nobody logs in,enum=plain,enum=scram-sha-256,enum=scram-sha-512"`
	User       string `json:"user,omitempty" jsonschema:"description=User or API key"`
	Password   string `json:"password,omitempty" jsonschema:"description=Password or API secret,format=password"`
}

// TLS says whether connections are encrypted.
type TLS string

// SASL names a mechanism.
type SASL string

// options are the client's that follow from the connection. Nothing inside the operator's network is dialled that is not allowed: the
// brokers name each other's addresses (I14).
func (c *Connection) options(allowed []*net.IPNet, timeout time.Duration) ([]kgo.Opt, error) {
	var problems []string
	problem := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	if len(c.Brokers) == 0 {
		problem("brokers is empty; give some as host:port")
	}
	for i, b := range c.Brokers {
		if host, port, err := net.SplitHostPort(b); err != nil || host == "" || port == "" {
			problem("brokers[%d]: want host:port, such as kafka.example.com:9092", i)
		}
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.TLS != "" && c.TLS != "on" && c.TLS != "off" {
		problem("tls: want on or off")
	}
	if c.TLS == "off" && (c.CA != "" || c.ClientCert != "" || c.ClientKey != "") {
		problem("ca, client_cert and client_key are only for TLS")
	}
	if c.CA != "" {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM([]byte(c.CA)) {
			problem("ca: want the certificate itself as PEM text, not the name of a file")
		}
	}
	if c.ClientCert != "" || c.ClientKey != "" {
		pair, err := tls.X509KeyPair([]byte(c.ClientCert), []byte(c.ClientKey))
		if err != nil {
			problem("client_cert and client_key: want a certificate and its key as PEM text")
		}
		config.Certificates = []tls.Certificate{pair}
	}
	var mechanism sasl.Mechanism
	switch login := (scram.Auth{User: c.User, Pass: c.Password}); c.SASL {
	case "plain":
		mechanism = plain.Auth{User: c.User, Pass: c.Password}.AsMechanism()
	case "scram-sha-256":
		mechanism = login.AsSha256Mechanism()
	case "scram-sha-512":
		mechanism = login.AsSha512Mechanism()
	case "":
	default:
		problem("sasl: want plain, scram-sha-256 or scram-sha-512")
	}
	if (c.SASL == "") != (c.User == "") || (c.SASL == "") != (c.Password == "") {
		problem("sasl, user and password belong together")
	}
	if problems != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "%s", strings.Join(problems, "; "))
	}

	dialer := outbound.Dialer(allowed)
	dialer.Timeout = timeout // of the handshake, too
	dial := dialer.DialContext
	if c.TLS != "off" {
		dial = (&tls.Dialer{NetDialer: dialer, Config: config}).DialContext
	}
	options := []kgo.Opt{kgo.SeedBrokers(c.Brokers...), kgo.Dialer(dial), kgo.ClientID("tributary"), kgo.DisableClientMetrics()}
	if mechanism != nil {
		options = append(options, kgo.SASL(mechanism))
	}
	return options, nil
}

// cluster is a client, and which topics are known to be there.
type cluster struct {
	*kgo.Client
	mu    sync.Mutex
	ready map[string]bool
}

func newCluster(options []kgo.Opt) (*cluster, error) {
	client, err := kgo.NewClient(options...)
	if err != nil {
		return nil, connectors.Errorf(connectors.Invalid, "connection", "the client can't be made of these settings")
	}
	return &cluster{Client: client, ready: make(map[string]bool)}, nil
}

func (c *cluster) Close() error {
	c.Client.Close()
	return nil
}

// unready are the topics that are not known to be there, each once.
func (c *cluster) unready(topics []string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	missing := make(map[string]bool)
	for i, t := range topics {
		if (i == 0 || t != topics[i-1]) && !c.ready[t] {
			missing[t] = true
		}
	}
	return slices.Sorted(maps.Keys(missing))
}

func (c *cluster) setReady(topics []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range topics {
		c.ready[t] = true
	}
}

// forget makes the next Write look at its topics again.
func (c *cluster) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.ready)
}

// prepare makes sure that the topics are there, and with that that the cluster can be reached and knows the user.
func (d *destination) prepare(ctx context.Context, topics []string) error {
	topics = d.cluster.unready(topics)
	if len(topics) == 0 {
		return nil
	}
	missing, err := d.cluster.look(ctx, topics, nil)
	if err != nil {
		return err
	}
	if len(missing) > 0 {
		if !d.settings.Create {
			return connectors.Errorf(connectors.NotFound, "topic", "%q does not exist, or the user may not describe it: make it, or set create to true", missing[0])
		}
		if err := d.create(ctx, missing, false); err != nil {
			return err
		}
	}
	d.cluster.setReady(topics)
	return nil
}

// mayWrite is the bit of WRITE among a topic's authorized operations (KIP-430).
const mayWrite = 1 << kmsg.ACLOperationWrite

// look asks for topics and returns those that don't exist. each, if not nil, sees those that do.
func (c *cluster) look(ctx context.Context, topics []string, each func(*kmsg.MetadataResponseTopic) error) (missing []string, err error) {
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = each != nil
	req.Topics = []kmsg.MetadataRequestTopic{} // not nil, which would be all
	for _, t := range topics {
		rt := kmsg.NewMetadataRequestTopic()
		rt.Topic = kmsg.StringPtr(t)
		req.Topics = append(req.Topics, rt)
	}
	res, err := req.RequestWith(ctx, c.Client)
	if err != nil {
		return nil, c.failed("look for topics", err)
	}
	for i := range res.Topics {
		t := &res.Topics[i]
		name := ""
		if t.Topic != nil {
			name = *t.Topic
		}
		switch err := kerr.ErrorForCode(t.ErrorCode); {
		case errors.Is(err, kerr.UnknownTopicOrPartition):
			missing = append(missing, name)
		case err != nil:
			return nil, c.failed(fmt.Sprintf("topic %q", name), err)
		case each != nil:
			if err := each(t); err != nil {
				return nil, err
			}
		}
	}
	return missing, nil
}

// create makes topics, or with only validate asks whether it could.
func (d *destination) create(ctx context.Context, topics []string, validate bool) error {
	req := kmsg.NewPtrCreateTopicsRequest()
	req.ValidateOnly = validate
	for _, t := range topics {
		rt := kmsg.NewCreateTopicsRequestTopic()
		rt.Topic, rt.NumPartitions, rt.ReplicationFactor = t, -1, -1
		if d.settings.NewTopic.Partitions > 0 {
			rt.NumPartitions = d.settings.NewTopic.Partitions
		}
		if d.settings.NewTopic.Replication > 0 {
			rt.ReplicationFactor = d.settings.NewTopic.Replication
		}
		for _, name := range slices.Sorted(maps.Keys(d.settings.NewTopic.Config)) {
			rc := kmsg.NewCreateTopicsRequestTopicConfig()
			rc.Name, rc.Value = name, kmsg.StringPtr(d.settings.NewTopic.Config[name])
			rt.Configs = append(rt.Configs, rc)
		}
		req.Topics = append(req.Topics, rt)
	}
	res, err := req.RequestWith(ctx, d.cluster.Client)
	if err != nil {
		return d.cluster.failed("create topics", err)
	}
	for _, t := range res.Topics {
		if err := kerr.ErrorForCode(t.ErrorCode); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			return d.cluster.failed(fmt.Sprintf("create topic %q", t.Topic), err)
		}
	}
	return nil
}

// Check connects, logs in and, where the topic's name is fixed, proves that it is there and may be written to, or could be made. It
// changes nothing.
func (d *destination) Check(ctx context.Context) error {
	ctx, leave, err := d.gate.Enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	var topics []string
	if name, fixed := d.topic.Fixed(); fixed {
		topics = []string{name}
	}
	missing, err := d.cluster.look(ctx, topics, func(t *kmsg.MetadataResponseTopic) error {
		// The smallest number says that the broker is too old to tell, or has no authorizer.
		if t.AuthorizedOperations >= 0 && t.AuthorizedOperations&mayWrite == 0 {
			return d.cluster.failed(fmt.Sprintf("topic %q", *t.Topic), kerr.TopicAuthorizationFailed)
		}
		return nil
	})
	switch {
	case err != nil || len(missing) == 0:
		return err
	case d.settings.Create:
		return d.create(ctx, missing, true)
	}
	return connectors.Errorf(connectors.NotFound, "topic", "%q does not exist, or the user may not describe it: make it, or set create to true", missing[0])
}

// kinds maps Kafka's error codes to kinds (I9), with what to do. https://kafka.apache.org/protocol#protocol_error_codes
// What is not in it is Unavailable where the protocol says that it is retriable, else Unknown. The table stands in
// docs/destinations/kafka.md too.
var kinds = map[*kerr.Error]struct {
	kind   connectors.Kind
	advice string
}{
	kerr.SaslAuthenticationFailed:           {connectors.Unauthorized, "user or password is not accepted"},
	kerr.IllegalSaslState:                   {connectors.Unauthorized, "the login is not accepted"},
	kerr.UnsupportedSaslMechanism:           {connectors.Invalid, "the brokers do not offer this sasl mechanism"},
	kerr.TopicAuthorizationFailed:           {connectors.Forbidden, "allow the user Write and Describe on the topic, and Create where it is to make it"},
	kerr.ClusterAuthorizationFailed:         {connectors.Forbidden, "allow the user Create on the topic or the cluster to make topics; before Kafka 2.8 also IdempotentWrite on the cluster"},
	kerr.TransactionalIDAuthorizationFailed: {connectors.Forbidden, "allow the user IdempotentWrite on the cluster"},
	kerr.InvalidTopicException:              {connectors.Invalid, "the name is not allowed, or differs only in . and _ from another topic's"},
	kerr.InvalidPartitions:                  {connectors.Invalid, "correct new_topic.partitions"},
	kerr.InvalidReplicationFactor:           {connectors.Invalid, "new_topic.replication is more than there are brokers"},
	kerr.InvalidConfig:                      {connectors.Invalid, "correct new_topic.config"},
	kerr.InvalidRequiredAcks:                {connectors.Invalid, "the brokers do not take acks=all"},
	kerr.InvalidRequest:                     {connectors.Invalid, "the brokers do not take the request"},
	kerr.PolicyViolation:                    {connectors.Invalid, "a policy of the cluster forbids such a topic or record"},
	kerr.UnsupportedVersion:                 {connectors.Invalid, "the brokers are older than Kafka 2.4"},
	kerr.UnsupportedForMessageFormat:        {connectors.Invalid, "the topic has a message format from before Kafka 0.11"},
	kerr.UnsupportedCompressionType:         {connectors.Invalid, "choose another compression"},
	kerr.UnknownTopicOrPartition:            {connectors.Unavailable, "the topic vanished: the next attempt looks for it"},
	kerr.UnknownTopicID:                     {connectors.Unavailable, "the topic vanished: the next attempt looks for it"},
	kerr.ThrottlingQuotaExceeded:            {connectors.RateLimited, "the user's quota is used up"},
	kerr.OutOfOrderSequenceNumber:           {connectors.Unavailable, ""},
	kerr.UnknownProducerID:                  {connectors.Unavailable, ""},
	kerr.InvalidProducerEpoch:               {connectors.Unavailable, ""},
	kerr.InvalidProducerIDMapping:           {connectors.Unavailable, ""},
	kerr.LogDirNotFound:                     {connectors.Unavailable, ""},
}

// refusals are the errors that lie in a record or, as long as it shares a batch, in one of its neighbours.
var refusals = map[*kerr.Error]string{
	kerr.MessageTooLarge:    "it is larger than batch_bytes or the topic's max.message.bytes",
	kerr.RecordListTooLarge: "it is larger than the broker's segment.bytes",
	kerr.InvalidRecord:      "the broker finds it invalid, such as a record without key in a compacted topic or one that a schema does not allow",
	kerr.InvalidTimestamp:   "its time is further from now than the topic's message.timestamp settings allow",
}

func refusal(err error) string {
	var code *kerr.Error
	if !errors.As(err, &code) || refusals[code] == "" {
		return ""
	}
	return fmt.Sprintf("%s (%s)", refusals[code], code.Message)
}

// failed turns what franz-go returned into an *Error. Of a broker's answer only the code is told (I7).
func (c *cluster) failed(op string, err error) *connectors.Error {
	c.forget()
	var known *connectors.Error
	var code *kerr.Error
	var eof *kgo.ErrFirstReadEOF
	unavailable := func(message string) *connectors.Error {
		return &connectors.Error{Kind: connectors.Unavailable, Op: op, Message: message, Err: err}
	}
	switch {
	case errors.As(err, &known):
		return known
	case errors.As(err, &code):
		e := &connectors.Error{Kind: connectors.Unknown, Op: op, Message: code.Message, Err: err}
		row, ok := kinds[code]
		switch {
		case ok:
			e.Kind = row.kind
		case code.Retriable:
			e.Kind = connectors.Unavailable
		}
		if row.advice != "" {
			e.Message += ": " + row.advice
		}
		return e
	case errors.As(err, &eof):
		return unavailable("the broker closed a new connection: it may want tls on or off, or a sasl login")
	case errors.Is(err, kgo.ErrClientClosed), errors.Is(err, kgo.ErrAborting):
		return unavailable("the client was closed")
	}
	return outbound.AsError(op, err)
}
