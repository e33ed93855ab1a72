package datastream

import (
	"bytes"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"tributary/connectors"
)

// BenchmarkWrite compares the destination with its floor: the same payloads posted by hand, as many at once and each with as much time, with the signature by
// RSA that binds both, and without what Standard Webhooks and CloudEvents add for a receiver to notice a second time. An array shares one signature.
func BenchmarkWrite(b *testing.B) {
	const size = 1_000
	batch := batchOf(make([]string, size)...)
	for i := range batch.Records {
		batch.Records[i].Data = fmt.Appendf(nil, `{"customers": {"id": %d, "note": "%s"}}`, i, strings.Repeat("x", 450))
	}
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	b.Cleanup(s.Close)
	b.Run("floor", func(b *testing.B) { benchFloor(b, s.URL+"/", batch.Records) })
	for name, array := range map[string]bool{"destination": false, "arrays": true} {
		b.Run(name, func(b *testing.B) {
			d := opened(b, s.URL, map[string]any{"array": array})
			for b.Loop() {
				if r, err := d.Write(b.Context(), batch); err != nil || r.Outcomes[size-1] != connectors.Durable {
					b.Fatal(err)
				}
			}
			rate(b, size)
		})
	}
}

func benchFloor(b *testing.B, url string, records []connectors.Record) {
	const atOnce = 16 // as the destination without settings
	k, err := parseConnection(keys())
	if err != nil {
		b.Fatal(err)
	}
	client := &http.Client{Timeout: defaultTimeout, Transport: &http.Transport{MaxIdleConnsPerHost: atOnce}}
	defer client.CloseIdleConnections()
	post := func(body []byte) error {
		sum := sha256.Sum256([]byte("POST" + url + string(body)))
		signature, err := rsa.SignPKCS1v15(nil, k.rsa[0], crypto.SHA256, sum[:])
		if err != nil {
			return err
		}
		req, err := http.NewRequest(http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("X-Alloy-Signature", hex.EncodeToString(signature))
		res, err := client.Do(req)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		if res.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %s", res.Status)
		}
		_, err = io.Copy(io.Discard, res.Body)
		return err
	}
	for b.Loop() {
		work := make(chan []byte)
		var all sync.WaitGroup
		for range atOnce {
			all.Go(func() {
				for body := range work {
					if err := post(body); err != nil {
						b.Error(err)
					}
				}
			})
		}
		for i := range records {
			work <- records[i].Data
		}
		close(work)
		all.Wait()
	}
	rate(b, len(records))
}

func rate(b *testing.B, records int) {
	b.ReportMetric(float64(records)*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

func BenchmarkSign(b *testing.B) {
	k, err := parseConnection(keys())
	if err != nil {
		b.Fatal(err)
	}
	body := []byte(strings.Repeat("x", 1000))
	for b.Loop() {
		if err := k.sign(http.Header{}, "https://example.com/", "id", time.Unix(0, 0), body); err != nil {
			b.Fatal(err)
		}
	}
}
