package hubspottest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"tributary/connectors"
)

// hooks are the app's webhooks.
type hooks struct {
	target        string
	created       time.Time
	atOnce        int
	subscriptions []*subscription
	pending       []map[string]any // events that are still to be sent
	serial        int64
}

// subscription is what the app wants to hear of.
type subscription struct {
	ID           string `json:"id"`
	EventType    string `json:"eventType"`
	ObjectTypeID string `json:"objectTypeId,omitempty"`
	PropertyName string `json:"propertyName,omitempty"`
	Active       bool   `json:"active"`
	CreatedAt    string `json:"createdAt"`
	UpdatedAt    string `json:"updatedAt"`
}

const (
	maxSubscriptions = 1000
	maxEvents        = 100
)

func (s *Server) routeHooks() {
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) *Refusal{
		"GET /webhooks/v3/{app}/settings":              s.getSettings,
		"PUT /webhooks/v3/{app}/settings":              s.putSettings,
		"DELETE /webhooks/v3/{app}/settings":           s.deleteSettings,
		"GET /webhooks/v3/{app}/subscriptions":         s.listSubscriptions,
		"POST /webhooks/v3/{app}/subscriptions":        s.createSubscription,
		"PATCH /webhooks/v3/{app}/subscriptions/{id}":  s.patchSubscription,
		"DELETE /webhooks/v3/{app}/subscriptions/{id}": s.deleteSubscription,
	} {
		s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			refused := onlyParameters(r, "hapikey")
			switch {
			case refused != nil:
			case r.URL.Query().Get("hapikey") != DeveloperKey:
				refused = &Refusal{Status: 401, Category: "INVALID_AUTHENTICATION", Message: "The API key provided is invalid."}
			case r.PathValue("app") != strconv.Itoa(AppID):
				refused = &Refusal{Status: 404, Category: "OBJECT_NOT_FOUND", Message: "No app with that ID"}
			case s.refuse != nil:
				refused = s.refuse("hooks")
			}
			if refused == nil {
				s.served["hooks"]++
				refused = serve(w, r)
			}
			if refused != nil {
				s.fail(w, refused)
			}
		})
	}
}

func (s *Server) showSettings(w http.ResponseWriter) *Refusal {
	return s.write(w, 200, map[string]any{
		"targetUrl": s.hooks.target, "createdAt": s.hooks.created.UTC().Format(millisecond), "throttling": map[string]any{"maxConcurrentRequests": s.hooks.atOnce},
	})
}

func (s *Server) getSettings(w http.ResponseWriter, _ *http.Request) *Refusal {
	if s.hooks.target == "" {
		return &Refusal{Status: 404, Category: "OBJECT_NOT_FOUND", Message: "No webhook settings found for this app"}
	}
	return s.showSettings(w)
}

func (s *Server) putSettings(w http.ResponseWriter, r *http.Request) *Refusal {
	var body struct {
		TargetURL  string `json:"targetUrl"`
		Throttling *struct {
			MaxConcurrentRequests int `json:"maxConcurrentRequests"`
		} `json:"throttling"`
	}
	if _, refused := decode(r, &body); refused != nil {
		return refused
	}
	switch {
	case !strings.HasPrefix(body.TargetURL, "https://"):
		return invalid("targetUrl must be an HTTPS URL")
	case body.Throttling == nil || body.Throttling.MaxConcurrentRequests < 5:
		return invalid("maxConcurrentRequests must be greater than five")
	}
	s.hooks.target, s.hooks.atOnce, s.hooks.created = body.TargetURL, body.Throttling.MaxConcurrentRequests, s.o.Now()
	return s.showSettings(w)
}

func (s *Server) deleteSettings(w http.ResponseWriter, _ *http.Request) *Refusal {
	s.hooks.target = ""
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) listSubscriptions(w http.ResponseWriter, _ *http.Request) *Refusal {
	return s.write(w, 200, map[string]any{"results": append([]*subscription{}, s.hooks.subscriptions...)})
}

// unwatched are properties that no webhook tells of: https://developers.hubspot.com/docs/api/webhooks#crm-objects
var unwatched = []string{"num_unique_conversion_events", "hs_lastmodifieddate", "hs_email_html", "hs_email_subject", "hs_communication_body"}

func (s *Server) createSubscription(w http.ResponseWriter, r *http.Request) *Refusal {
	var body struct {
		EventType     string  `json:"eventType"`
		ObjectTypeID  string  `json:"objectTypeId"`
		PropertyName  string  `json:"propertyName"`
		EventTypeName *string `json:"eventTypeName"`
		Active        bool    `json:"active"`
	}
	if _, refused := decode(r, &body); refused != nil {
		return refused
	}
	prefix, kind, _ := strings.Cut(body.EventType, ".")
	switch {
	case s.hooks.target == "":
		return invalid("The app has no target URL")
	case len(s.hooks.subscriptions) >= maxSubscriptions:
		return invalid("The app has %d subscriptions already", maxSubscriptions)
	case kind == "propertyChange" && (body.PropertyName == "" || slices.Contains(unwatched, body.PropertyName)):
		return invalid("propertyName is not one that can be subscribed")
	case kind != "propertyChange" && body.PropertyName != "":
		return invalid("propertyName is for property changes only")
	case prefix == "object" && (body.ObjectTypeID == "" || strings.HasPrefix(body.ObjectTypeID, "2-")):
		return invalid("objectTypeId is not one that an app may subscribe; custom objects are for private apps")
	case prefix != "object" && body.ObjectTypeID != "":
		return invalid("objectTypeId is for generic events only")
	}
	for _, sub := range s.hooks.subscriptions {
		if sub.EventType == body.EventType && sub.ObjectTypeID == body.ObjectTypeID && sub.PropertyName == body.PropertyName {
			return &Refusal{Status: 409, Category: "CONFLICT", Message: "The subscription exists already"}
		}
	}
	s.hooks.serial++
	now := s.o.Now().UTC().Format(millisecond)
	sub := &subscription{strconv.FormatInt(s.hooks.serial, 10), body.EventType, body.ObjectTypeID, body.PropertyName, body.Active, now, now}
	s.hooks.subscriptions = append(s.hooks.subscriptions, sub)
	return s.write(w, 201, sub)
}

func (s *Server) subscription(r *http.Request) (int, *Refusal) {
	i := slices.IndexFunc(s.hooks.subscriptions, func(sub *subscription) bool { return sub.ID == r.PathValue("id") })
	if i < 0 {
		return i, &Refusal{Status: 404, Category: "OBJECT_NOT_FOUND", Message: "No subscription with that ID"}
	}
	return i, nil
}

func (s *Server) patchSubscription(w http.ResponseWriter, r *http.Request) *Refusal {
	i, refused := s.subscription(r)
	if refused != nil {
		return refused
	}
	var body struct {
		Active bool `json:"active"`
	}
	if _, refused := decode(r, &body); refused != nil {
		return refused
	}
	s.hooks.subscriptions[i].Active = body.Active
	return s.write(w, 200, s.hooks.subscriptions[i])
}

func (s *Server) deleteSubscription(w http.ResponseWriter, r *http.Request) *Refusal {
	i, refused := s.subscription(r)
	if refused != nil {
		return refused
	}
	s.hooks.subscriptions = slices.Delete(s.hooks.subscriptions, i, i+1)
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// Pause stops a subscription, as somebody may in the app's settings; Target sets the URL there.
func (s *Server) Pause(i int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks.subscriptions[i].Active = false
}

// Target sets the app's URL, as somebody may in the app's settings.
func (s *Server) Target(url string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hooks.target, s.hooks.atOnce, s.hooks.created = url, 10, s.o.Now()
}

// Subscribed lists the active subscriptions: event type, object type and property.
func (s *Server) Subscribed() (target string, topics []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.hooks.subscriptions {
		if sub.Active {
			topics = append(topics, strings.TrimRight(sub.EventType+" "+sub.ObjectTypeID+" "+sub.PropertyName, " "))
		}
	}
	return s.hooks.target, topics
}

// tell queues an event for each subscription that it fits. https://developers.hubspot.com/docs/api/webhooks
func (s *Server) tell(t *objectType, id int64, kind string, at time.Time, more map[string]any) {
	for _, sub := range s.hooks.subscriptions {
		legacy := sub.EventType == t.legacy+"."+kind
		generic := sub.EventType == "object."+kind && sub.ObjectTypeID == t.id
		if !sub.Active || !legacy && !generic || sub.PropertyName != "" && sub.PropertyName != more["propertyName"] {
			continue
		}
		number, _ := strconv.ParseInt(sub.ID, 10, 64)
		e := map[string]any{
			"eventId":        100 + s.hooks.serial%3, // it is not unique
			"subscriptionId": number, "portalId": s.o.Portal, "appId": AppID, "occurredAt": at.UnixMilli(),
			"subscriptionType": sub.EventType, "attemptNumber": 0, "changeSource": "CRM_UI",
		}
		s.hooks.serial++
		if id != 0 {
			e["objectId"] = id
		}
		switch kind {
		case "creation":
			e["changeFlag"] = "CREATED"
		case "deletion":
			e["changeFlag"] = "DELETED"
		}
		if generic {
			e["objectTypeId"] = t.id
		}
		for name, value := range more {
			e[name] = value
		}
		s.hooks.pending = append(s.hooks.pending, e)
	}
}

// Deliveries sends what is pending, up to 100 events each, the latest first: no order is promised. attempt is 0 for the first time.
func (s *Server) Deliveries(attempt int) []connectors.Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	events := slices.Clone(s.hooks.pending)
	slices.Reverse(events)
	s.hooks.pending = nil
	var out []connectors.Delivery
	for chunk := range slices.Chunk(events, maxEvents) {
		for _, e := range chunk {
			e["attemptNumber"] = attempt
		}
		body, err := json.Marshal(chunk)
		if err != nil {
			panic(err) // of maps, text and numbers
		}
		d := connectors.Delivery{
			Method: http.MethodPost, URL: s.hooks.target, Body: body, ReceivedAt: s.o.Now(),
			Header: http.Header{"Content-Type": {"application/json"}, "User-Agent": {"HubSpot Connect 2.0 (http://dev.hubspot.com/)"}},
		}
		SignV3(&d, ClientSecret, s.o.Now())
		SignV1(&d, ClientSecret)
		out = append(out, d)
	}
	return out
}

// SignV3 signs method, URL, body and time. https://developers.hubspot.com/docs/api/webhooks/validating-requests
func SignV3(d *connectors.Delivery, secret string, at time.Time) {
	stamp := strconv.FormatInt(at.UnixMilli(), 10)
	uri := d.URL
	for encoded, plain := range map[string]string{
		"%3A": ":", "%2F": "/", "%3F": "?", "%40": "@", "%21": "!", "%24": "$", "%27": "'", "%28": "(", "%29": ")", "%2A": "*", "%2C": ",", "%3B": ";",
	} {
		uri = strings.ReplaceAll(uri, encoded, plain)
	}
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(d.Method + uri + string(d.Body) + stamp))
	d.Header.Set("X-HubSpot-Signature-v3", base64.StdEncoding.EncodeToString(mac.Sum(nil)))
	d.Header.Set("X-HubSpot-Request-Timestamp", stamp)
}

// SignV1 signs the body.
func SignV1(d *connectors.Delivery, secret string) {
	sum := sha256.Sum256(append([]byte(secret), d.Body...))
	d.Header.Set("X-HubSpot-Signature", hex.EncodeToString(sum[:]))
	d.Header.Set("X-HubSpot-Signature-Version", "v1")
}
