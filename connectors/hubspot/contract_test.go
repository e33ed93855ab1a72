package hubspot_test

import (
	"bytes"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"tributary/connectors"
	"tributary/connectors/hubspot"
	"tributary/connectors/hubspot/hubspottest"
)

// contract holds every request that the connector sends, and every answer that its stand-in gives, against the vendor's own specifications.
// contacts.json, objects.json, webhooks-v3.json and oauth-v1.json are the vendor's files; account.json is written after its documentation of
// two calls that they leave out.
type contract struct {
	t    testing.TB
	next http.RoundTripper
	// mu guards held, which counts what was held against a specification: its name, the method, and the path with the object type that it names.
	mu   *sync.Mutex
	held map[string]int
}

func newContract(t testing.TB, next http.RoundTripper) *contract {
	return &contract{t: t, next: next, mu: &sync.Mutex{}, held: map[string]int{}}
}

// specifications are read once, and have the names of their files.
var specifications = sync.OnceValues(func() (map[string]routers.Router, error) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		return nil, err
	}
	out := map[string]routers.Router{}
	for _, file := range files {
		loader := openapi3.NewLoader()
		doc, err := loader.LoadFromFile(file)
		if err != nil {
			return nil, err
		}
		if err := doc.Validate(loader.Context, openapi3.DisableExamplesValidation(), openapi3.AllowExtraSiblingFields("description")); err != nil {
			return nil, err
		}
		router, err := gorillamux.NewRouter(doc)
		if err != nil {
			return nil, err
		}
		out[strings.TrimSuffix(filepath.Base(file), ".json")] = router
	}
	return out, nil
})

// options: who may call is the stand-in's to judge, and unknown parameters too.
var options = &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true, MultiError: true}

func (c *contract) RoundTrip(req *http.Request) (*http.Response, error) {
	all, err := specifications()
	if err != nil {
		c.t.Errorf("the specifications: %v", err)
		return nil, err
	}
	body := drain(&req.Body)
	var found []*openapi3filter.RequestValidationInput
	for name, router := range all {
		route, parameters, err := router.FindRoute(req)
		if err != nil {
			continue
		}
		input := &openapi3filter.RequestValidationInput{Request: req, PathParams: parameters, Route: route, Options: options}
		found = append(found, input)
		req.Body = io.NopCloser(bytes.NewReader(body))
		if err := openapi3filter.ValidateRequest(req.Context(), input); err != nil {
			c.t.Errorf("%s %s is not a request of the specification: %v", req.Method, req.URL.Path, err)
		}
		for parameter := range req.URL.Query() {
			if parameter != "hapikey" && !inSpecification(route, parameter) {
				c.t.Errorf("%s %s: the specification knows no parameter %s", req.Method, req.URL.Path, parameter)
			}
		}
		c.mu.Lock()
		c.held[name+" "+req.Method+" "+strings.Replace(route.Path, "{objectType}", parameters["objectType"], 1)]++
		c.mu.Unlock()
	}
	if found == nil {
		c.t.Errorf("%s %s is in no specification", req.Method, req.URL.Path)
	}
	req.Body = io.NopCloser(bytes.NewReader(body))
	res, err := c.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	content := drain(&res.Body)
	for _, input := range found {
		answered := &openapi3filter.ResponseValidationInput{RequestValidationInput: input, Status: res.StatusCode, Header: res.Header, Options: options}
		answered.SetBodyBytes(content)
		if err := openapi3filter.ValidateResponse(req.Context(), answered); err != nil {
			c.t.Errorf("%s %s: the answer %d is not of the specification: %v", req.Method, req.URL.Path, res.StatusCode, err)
		}
	}
	res.Body = io.NopCloser(bytes.NewReader(content))
	return res, nil
}

func inSpecification(route *routers.Route, name string) bool {
	for _, p := range route.Operation.Parameters {
		if p.Value.Name == name && p.Value.In == "query" {
			return true
		}
	}
	return false
}

// drain reads a body, which may be none.
func drain(body *io.ReadCloser) []byte {
	if *body == nil {
		return nil
	}
	raw, _ := io.ReadAll(*body) // of memory
	(*body).Close()
	return raw
}

// Every kind of object that HubSpot has, and a custom one by its ID and by its name, is listed, searched and read as the specification of objects has it, and
// so are the archived ones: HubSpot publishes one of contacts besides, and the others follow the same shape. Webhooks of each are subscribed as theirs has it.
func TestContractCoversEveryKindOfObject(t *testing.T) {
	t.Parallel()
	kinds := []string{"2-3465404", "p_car", "p62515_car"}
	for _, st := range hubspot.Definition().Streams {
		kinds = append(kinds, st.Name)
	}
	for _, kind := range kinds {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := newAccount(t, hubspottest.Options{})
			s := a.open(t, hubspot.Settings{Deletions: "1s", Overlap: "1s", PageSize: 1})
			a.fill(kind, 2)
			if !strings.HasPrefix(kind, "2-") && !strings.HasPrefix(kind, "p_") && !strings.HasPrefix(kind, "p6") {
				subscribe(t, s, kind)
				if n := a.contract.held["webhooks-v3 POST /webhooks/v3/{appId}/subscriptions"]; n == 0 {
					t.Error("no subscription was held against the specification of webhooks")
				}
			}
			r := newReader(t, s, kind)
			r.poll()
			a.Advance(time.Minute)
			a.Archive(kind, a.IDs(kind)[0])
			a.Advance(time.Minute)
			if got := r.poll(); len(got) == 0 {
				t.Error("what was archived is not polled")
			}
			before := a.contract.held["objects POST /crm/v3/objects/"+kind+"/batch/read"]
			if _, err := s.Complete(t.Context(), []connectors.Record{event(kind, strconv.FormatInt(a.IDs(kind)[0], 10), connectors.Upsert, 0)}); err != nil {
				t.Fatal(err)
			}
			if a.contract.held["objects POST /crm/v3/objects/"+kind+"/batch/read"] == before {
				t.Error("the read of an event's object was held against no specification")
			}
			path := "/crm/v3/objects/" + kind
			want := []string{"objects GET " + path, "objects POST " + path + "/search", "objects POST " + path + "/batch/read", "account GET /crm/v3/properties/" + kind}
			if kind == "contacts" {
				want = append(want, "contacts GET "+path, "contacts POST "+path+"/search", "contacts POST "+path+"/batch/read")
			}
			for _, call := range want {
				if a.contract.held[call] == 0 {
					t.Errorf("%s was not held against the specification: %v", call, a.contract.held)
				}
			}
		})
	}
}

// finding lets a test of the contract see what it finds.
type finding struct {
	testing.TB
	mu   sync.Mutex
	said []string
}

func (f *finding) Errorf(format string, args ...any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.said = append(f.said, format)
}

// The contract finds requests and answers that the specifications do not have.
func TestContractFindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	const search = `{"after":"0","filterGroups":[],"limit":10,"properties":[],"sorts":[]}`
	for name, c := range map[string]struct {
		method, path, body string
		status             int
		answer             string
		wrong              bool
	}{
		"a search":                      {"POST", "/crm/v3/objects/deals/search", search, 200, `{"total":0,"results":[]}`, false},
		"a path that is none":           {"GET", "/crm/v9/objects", "", 200, `{}`, true},
		"a parameter that is none":      {"GET", "/crm/v3/objects/deals?page=2", "", 200, `{"results":[]}`, true},
		"a limit that is no number":     {"GET", "/crm/v3/objects/deals?limit=many", "", 200, `{"results":[]}`, true},
		"a search without sorts":        {"POST", "/crm/v3/objects/deals/search", `{"after":"0","filterGroups":[],"limit":10,"properties":[]}`, 200, `{"total":0,"results":[]}`, true},
		"sorts that are objects":        {"POST", "/crm/v3/objects/deals/search", strings.Replace(search, `"sorts":[]`, `"sorts":[{}]`, 1), 200, `{"total":0,"results":[]}`, true},
		"an unknown operator":           {"POST", "/crm/v3/objects/deals/search", strings.Replace(search, `[]`, `[{"filters":[{"operator":"LIKE","propertyName":"a"}]}]`, 1), 200, `{"total":0,"results":[]}`, true},
		"an answer without a total":     {"POST", "/crm/v3/objects/deals/search", search, 200, `{"results":[]}`, true},
		"an object without updatedAt":   {"GET", "/crm/v3/objects/deals", "", 200, `{"results":[{"id":"1","properties":{},"createdAt":"2026-01-01T00:00:00Z","archived":false}]}`, true},
		"an error without a category":   {"GET", "/crm/v3/objects/deals", "", 400, `{"message":"no","correlationId":"aeb5f871-7f07-4993-9211-075dc63e7cbf"}`, true},
		"a contact whose id is no text": {"GET", "/crm/v3/objects/contacts", "", 200, `{"results":[{"id":1,"properties":{},"createdAt":"2026-01-01T00:00:00Z","updatedAt":"2026-01-01T00:00:00Z","archived":false}]}`, true},
		"an event type that is none":    {"POST", "/webhooks/v3/1/subscriptions", `{"eventType":"contact.birthday"}`, 201, `{"id":"1","active":true,"createdAt":"2026-01-01T00:00:00Z","eventType":"contact.creation"}`, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := &finding{TB: t}
			over := newContract(found, roundTripper(func(req *http.Request) (*http.Response, error) {
				return &http.Response{
					StatusCode: c.status, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(c.answer)), Request: req,
				}, nil
			}))
			req, err := http.NewRequestWithContext(t.Context(), c.method, "https://api.hubapi.com"+c.path, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if c.body != "" {
				req.Header.Set("Content-Type", "application/json")
			}
			res, err := over.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if (len(found.said) > 0) != c.wrong {
				t.Errorf("found %v", found.said)
			}
		})
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
