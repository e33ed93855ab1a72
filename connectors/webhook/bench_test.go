package webhook_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"tributary/connectors"
)

// BenchmarkReceive verifies and scans a delivery of 1 KB.
func BenchmarkReceive(b *testing.B) {
	now := time.Unix(1772366400, 0)
	text := strings.Repeat(`"name":"Ada Lovelace","tags":["a","b"],"n":12.5,`, 19)
	for name, body := range map[string]string{
		"github":            `{"action":"opened",` + text + `"id":1}`,
		"standard-webhooks": `{"type":"user.created","data":{` + text + `"id":1},"timestamp":"2026-03-01T12:00:00Z"}`,
		"stripe":            `{"id":"evt_1","data":{"object":{"object":"customer",` + text + `"id":"cus_1"}},"created":1772366400,"type":"customer.updated"}`,
		"woocommerce":       `{"id":727,` + text + `"date_modified_gmt":"2026-03-01T10:00:00"}`,
	} {
		b.Run(name, func(b *testing.B) {
			s := senders()[name]
			r := open(b, s.settings, s.secret, now)
			d := connectors.Delivery{Body: []byte(body), Header: http.Header{}}
			for _, header := range []string{"X-GitHub-Event", "X-GitHub-Delivery", "X-WC-Webhook-Resource", "X-WC-Webhook-Delivery-ID"} {
				d.Header.Set(header, "issues")
			}
			s.sign(&d, s.secret, now)
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Receive(b.Context(), d); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
