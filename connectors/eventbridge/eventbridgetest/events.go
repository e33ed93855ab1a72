package eventbridgetest

import (
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

// Entry is of https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEventsRequestEntry.html
type Entry struct {
	Detail, DetailType, EventBusName, Source *string
	Resources                                []string
	Time                                     *float64
	TraceHeader                              *string
}

type result struct {
	EventID      string `json:"EventId,omitempty"`
	ErrorCode    string `json:",omitempty"`
	ErrorMessage string `json:",omitempty"`
}

type putResult struct {
	Entries          []result
	FailedEntryCount int
}

// Limits of https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html and its entries.
const (
	maxEntries    = 10
	maxDetailType = 128
	maxBusName    = 1600
	maxDepth      = 1000
)

var busRule = regexp.MustCompile(`^(arn:aws[\w-]*:events:[a-z]+-[a-z]+-[\w-]+:[0-9]{12}:event-bus/)?[/.\-_A-Za-z0-9]+$`)

func (s *Server) putEvents(body []byte) (*putResult, *failure) {
	var in struct {
		Entries    []Entry
		EndpointID *string `json:"EndpointId"`
	}
	if failed := decode(body, &in); failed != nil {
		return nil, failed
	}
	if n := len(in.Entries); n == 0 || n > maxEntries {
		return nil, &failure{"ValidationException", fmt.Sprintf("Value at 'entries' failed to satisfy constraint: Member must have length from 1 to %d", maxEntries)}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.request != nil {
		if code := s.request(); code != "-" {
			return nil, &failure{code, "as the test asked, with " + string(body[:min(len(body), 4000)])}
		}
	}
	s.requests++
	total, complete := 0, false
	for _, e := range in.Entries {
		total += e.size()
		complete = complete || e.Source != nil && e.DetailType != nil && e.Detail != nil
		if e.EventBusName != nil && (len(*e.EventBusName) > maxBusName || !busRule.MatchString(*e.EventBusName)) {
			return nil, &failure{"ValidationException", "Value at 'eventBusName' failed to satisfy constraint"}
		}
	}
	switch {
	case total >= s.maxBytes:
		return nil, &failure{"ValidationException", "Total size of the entries in the request is over the limit."}
	case !complete:
		return nil, &failure{"ValidationException", "No entry has each of Source, DetailType and Detail."}
	}
	out := &putResult{}
	for _, e := range in.Entries {
		code, message := e.judge()
		if code == "" && s.entry != nil {
			code, message = s.entry(e), "as the test asked"
		}
		if code != "" {
			s.returned.Return("entry " + code)
			out.FailedEntryCount++
			out.Entries = append(out.Entries, result{ErrorCode: code, ErrorMessage: message})
			continue
		}
		out.Entries = append(out.Entries, result{EventID: uuid.NewString()})
		// Of an event for a bus that is not there no error is told: https://github.com/aws/aws-cli/issues/9186
		if bus := busName(e.EventBusName); s.buses[bus] {
			s.events = append(s.events, Event{Bus: bus, Source: *e.Source, DetailType: *e.DetailType, Detail: *e.Detail, Time: seconds(e.Time)})
		}
	}
	if s.after != nil {
		s.after()
	}
	return out, nil
}

// describeEventBus is https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_DescribeEventBus.html
func (s *Server) describeEventBus(body []byte) (map[string]string, *failure) {
	var in struct{ Name *string }
	if failed := decode(body, &in); failed != nil {
		return nil, failed
	}
	name := busName(in.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.buses[name] {
		return nil, &failure{"ResourceNotFoundException", "Event bus " + name + " does not exist."}
	}
	return map[string]string{"Name": name, "Arn": "arn:aws:events:" + Region + ":" + Account + ":event-bus/" + name}, nil
}

func busName(s *string) string {
	if s == nil {
		return "default"
	}
	_, name, isARN := strings.Cut(*s, ":event-bus/")
	if !isARN {
		return *s
	}
	return name
}

func seconds(s *float64) time.Time {
	if s == nil {
		return time.Time{}
	}
	whole, part := math.Modf(*s)
	return time.Unix(int64(whole), int64(math.Round(part*1e3))*1e6).UTC()
}

// size is counted as https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-putevents.html#eb-putevent-size says.
func (e Entry) size() int {
	size := 0
	if e.Time != nil {
		size += 14
	}
	for _, s := range []*string{e.Source, e.DetailType, e.Detail} {
		if s != nil {
			size += len(*s)
		}
	}
	for _, r := range e.Resources {
		size += len(r)
	}
	return size
}

func (e Entry) judge() (code, message string) {
	for name, value := range map[string]*string{"Source": e.Source, "DetailType": e.DetailType, "Detail": e.Detail} {
		if value == nil || *value == "" {
			return "InvalidArgument", fmt.Sprintf("Parameter %s is not valid. Reason: %s is a required argument.", name, name)
		}
	}
	switch {
	case utf8.RuneCountInString(*e.DetailType) > maxDetailType:
		return "InvalidArgument", "Parameter DetailType is not valid."
	case strings.HasPrefix(*e.Source, "aws."):
		return "NotAuthorizedForSourceException", "Not authorized for the source."
	case !wellFormed(*e.Detail):
		return "MalformedDetail", "Detail is malformed."
	}
	return "", ""
}

// wellFormed says whether a detail is a JSON object, at most 1,000 levels deep and with whole numbers of 64 bits:
// https://docs.aws.amazon.com/eventbridge/latest/APIReference/API_PutEvents.html
func wellFormed(detail string) bool {
	if !json.Valid([]byte(detail)) || !strings.HasPrefix(strings.TrimLeft(detail, " \t\r\n"), "{") {
		return false
	}
	depth := 0
	for i := 0; i < len(detail); i++ {
		switch c := detail[i]; {
		case c == '"':
			for i++; detail[i] != '"'; i++ {
				if detail[i] == '\\' {
					i++
				}
			}
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return false
			}
		case c == '}' || c == ']':
			depth--
		case c == '-' || c >= '0' && c <= '9':
			number := detail[i:]
			number = number[:strings.IndexFunc(number, func(r rune) bool { return !strings.ContainsRune("+-.0123456789Ee", r) })]
			if _, err := strconv.ParseInt(number, 10, 64); err != nil && !strings.ContainsAny(number, ".eE") {
				return false
			}
			i += len(number) - 1
		}
	}
	return true
}
