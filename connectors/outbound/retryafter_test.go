package outbound

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

func TestRetryAfterIsClampedAndGarbageIsNothing(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"":                       0,
		"0":                      0,
		"7":                      7 * time.Second,
		" 7 ":                    7 * time.Second,
		"2.0":                    2 * time.Second,
		"0.25":                   250 * time.Millisecond,
		"21600":                  connectors.MaxWait,
		"21601":                  connectors.MaxWait,
		"99999999999999999999":   connectors.MaxWait,
		strings.Repeat("9", 400): connectors.MaxWait,
		"-5":                     0,
		"+5":                     0,
		"1e3":                    0,
		"Inf":                    0,
		"NaN":                    0,
		"0x10":                   0,
		"1.2.3":                  0,
		".":                      0,
		"5s":                     0,
		"soon":                   0,
		"5, 10":                  0,
		now.Add(90 * time.Second).Format(http.TimeFormat): 90 * time.Second,
		now.Add(-time.Hour).Format(http.TimeFormat):       0,
		now.Add(time.Minute).Format(time.RFC850):          time.Minute,
		now.Add(time.Minute).Format(time.ANSIC):           time.Minute,
		now.AddDate(50, 0, 0).Format(http.TimeFormat):     connectors.MaxWait,
		"Fri, 31 Dec 9999 23:59:59 GMT":                   connectors.MaxWait,
		"Mon, 01 Jan 0001 00:00:00 GMT":                   0,
		now.Format(time.RFC3339):                          0,
	} {
		if got := RetryAfter(header, now); got != want {
			t.Errorf("%.40q: got %v, want %v", header, got, want)
		}
	}
}
