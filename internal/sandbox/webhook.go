package sandbox

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// subscription calls a URL when a topic's event happens.
type subscription struct {
	id      int64
	topic   string // CUSTOMERS_CREATE
	uri     string
	created time.Time
}

func (s *subscription) node() fields {
	return fields{
		"id": gid("WebhookSubscription", s.id), "topic": s.topic, "uri": s.uri, "format": "JSON", "createdAt": nodeTime(s.created),
	}
}

func (s *Shop) listSubscriptions(args map[string]any) (any, error) {
	first, after, err := paging(args)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var c connection
	for _, sub := range s.subs {
		if sub.id <= after.ID {
			continue
		}
		if len(c.nodes) == first {
			c.more = true
			break
		}
		c.nodes = append(c.nodes, sub.node())
		c.cursors = append(c.cursors, encodeCursor(position{ID: sub.id}))
	}
	return c, nil
}

func userError(message string, path ...any) fields {
	return fields{"webhookSubscription": nil, "deletedWebhookSubscriptionId": nil, "userErrors": []fields{{"field": path, "message": message}}}
}

// createSubscription takes an http address too, unlike the vendor: a receiver on this machine has no certificate.
func (s *Shop) createSubscription(args map[string]any) (any, error) {
	topic, _ := args["topic"].(string)
	input, _ := args["webhookSubscription"].(map[string]any)
	uri, _ := input["uri"].(string)
	if u, err := url.Parse(uri); err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return userError("Address is invalid", "webhookSubscription", "uri"), nil
	}
	stream := strings.ToLower(topic[:strings.LastIndexByte(topic, '_')]) // the schema knows the topics
	if !s.granted(Stream(stream)) {
		return userError("You cannot create a webhook subscription with the specified topic", "topic"), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.ContainsFunc(s.subs, func(sub *subscription) bool { return sub.topic == topic && sub.uri == uri }) {
		return userError("Address for this topic has already been taken", "webhookSubscription", "uri"), nil
	}
	s.nextSub++
	sub := &subscription{id: s.nextSub, topic: topic, uri: uri, created: s.options.Now()}
	s.subs = append(s.subs, sub)
	return fields{"webhookSubscription": sub.node(), "userErrors": []fields{}}, nil
}

func (s *Shop) deleteSubscription(args map[string]any) (any, error) {
	id, _ := args["id"].(string)
	if !s.removeSubscription(id) {
		return userError("Webhook subscription does not exist", "id"), nil
	}
	return fields{"deletedWebhookSubscriptionId": id, "userErrors": []fields{}}, nil
}

func (s *Shop) removeSubscription(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.subs)
	s.subs = slices.DeleteFunc(s.subs, func(sub *subscription) bool { return gid("WebhookSubscription", sub.id) == id })
	return len(s.subs) < n
}

// Withhold keeps the next n webhooks from ever being sent, as if the vendor had lost them. The ledger names them.
func (s *Shop) Withhold(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.withhold = n
}

// announce sends what happened to each subscriber of the topic. All of them get the same Event-Id, each its own Webhook-Id.
// Headers: https://shopify.dev/docs/apps/build/webhooks/delivery-structure
func (s *Shop) announce(stream Stream, action string, id int64, payload any) {
	topic := strings.ToUpper(string(stream) + "_" + action)
	if !slices.ContainsFunc(s.subs, func(sub *subscription) bool { return sub.topic == topic }) {
		return
	}
	if s.options.Enveloped {
		payload = map[Stream]any{stream: payload}
	}
	var body bytes.Buffer
	enc := json.NewEncoder(&body)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(payload); err != nil {
		panic(fmt.Sprintf("sandbox: webhook of %T: %v", payload, err)) // only a fault in this package's own types
	}
	body.Truncate(body.Len() - 1)
	mac := hmac.New(sha256.New, []byte(s.secret))
	mac.Write(body.Bytes())
	event := rand.Text()
	for _, sub := range s.subs {
		if sub.topic != topic {
			continue
		}
		d := &delivery{
			Delivery: Delivery{
				Subscription: gid("WebhookSubscription", sub.id), URL: sub.uri, Topic: string(stream) + "/" + action, Stream: stream, ID: id,
				EventID: event, WebhookID: rand.Text(), SHA256: sha256.Sum256(body.Bytes()),
			},
			body: body.Bytes(),
			header: http.Header{
				"Content-Type":          {"application/json"},
				"User-Agent":            {"Shopify-Captain-Hook"},
				"X-Shopify-Topic":       {string(stream) + "/" + action},
				"X-Shopify-Shop-Domain": {s.options.Domain},
				"X-Shopify-Api-Version": {"2026-01"},
				"X-Shopify-Event-Id":    {event},
				"X-Shopify-Hmac-Sha256": {base64.StdEncoding.EncodeToString(mac.Sum(nil))},
				// The event's own moment, finer than the object's updated_at.
				"X-Shopify-Triggered-At": {s.options.Now().UTC().Format(time.RFC3339Nano)},
			},
		}
		d.header.Set("X-Shopify-Webhook-Id", d.WebhookID)
		if s.withhold > 0 {
			s.withhold--
			d.State = Withheld
		}
		s.sender.add(d)
	}
}

// sender delivers webhooks with a bounded number of workers; a retry carries the original payload and signature.
type sender struct {
	client  *http.Client
	retries []time.Duration
	timeout time.Duration
	onLost  func(subscription string) bool
	cancel  context.CancelFunc
	workers sync.WaitGroup

	mu     sync.Mutex
	wake   *sync.Cond
	queue  []*delivery
	ledger []*delivery
	open   int // pending
	closed bool
	idle   chan struct{} // closed when open falls to 0
}

type delivery struct {
	Delivery
	header http.Header
	body   []byte
}

func newSender(o Options) *sender {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sender{
		client: &http.Client{
			Transport: &http.Transport{
				// A second to connect: https://shopify.dev/docs/apps/build/webhooks/troubleshooting-webhooks
				DialContext:         (&net.Dialer{Timeout: time.Second}).DialContext,
				MaxIdleConnsPerHost: o.Concurrency,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		retries: o.Retries,
		timeout: o.Timeout,
		cancel:  cancel,
		idle:    make(chan struct{}),
	}
	close(s.idle)
	s.wake = sync.NewCond(&s.mu)
	for range o.Concurrency {
		s.workers.Go(func() { s.work(ctx) })
	}
	return s
}

func (s *sender) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.wake.Broadcast()
	s.workers.Wait()
	s.client.CloseIdleConnections()
}

func (s *sender) add(d *delivery) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ledger = append(s.ledger, d)
	if d.State == Withheld {
		return
	}
	if s.open == 0 {
		s.idle = make(chan struct{})
	}
	s.open++
	s.queue = append(s.queue, d)
	s.wake.Signal()
}

func (s *sender) work(ctx context.Context) {
	for {
		s.mu.Lock()
		for len(s.queue) == 0 && !s.closed {
			s.wake.Wait()
		}
		if s.closed {
			s.mu.Unlock()
			return
		}
		d := s.queue[0]
		s.queue = s.queue[1:]
		s.mu.Unlock()
		s.finish(ctx, d, s.attempt(ctx, d))
	}
}

func (s *sender) attempt(ctx context.Context, d *delivery) (status int) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.URL, bytes.NewReader(d.body))
	if err != nil {
		return 0
	}
	req.Header = d.header.Clone()
	res, err := s.client.Do(req)
	if err != nil {
		return 0
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 64<<10)) // so that the connection is used again
	return res.StatusCode
}

// finish notes the outcome and plans the next attempt.
func (s *sender) finish(ctx context.Context, d *delivery, status int) {
	s.mu.Lock()
	d.Attempts++
	d.Status = status
	lost := ""
	switch {
	case status >= 200 && status < 300:
		d.State = Acknowledged
	case ctx.Err() != nil:
		s.mu.Unlock()
		return
	case d.Attempts <= len(s.retries):
		time.AfterFunc(s.retries[d.Attempts-1], func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			s.queue = append(s.queue, d)
			s.wake.Signal()
		})
	default:
		d.State = Lost
		lost = d.Subscription
	}
	if d.State != Pending {
		d.body, d.header = nil, nil
		if s.open--; s.open == 0 {
			close(s.idle)
		}
	}
	s.mu.Unlock()
	if lost != "" {
		s.onLost(lost)
	}
}
