package eventbridge

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/google/uuid"
	"github.com/tidwall/gjson"

	"tributary/connectors"
	"tributary/connectors/connectortest"
)

// live is what the suite needs to run against AWS itself: a connection as JSON; a bus of which a rule on the source prefix "tributary-test." sends all
// events to a queue; that queue's URL; and perhaps a bucket as s3://bucket/prefix, without which the suite's one payload beyond the size is expected in
// quarantine. The queue is read with the access key of the connection.
type live struct{ Connection, Bus, Queue, Overflow string }

func liveBus() live {
	const prefix = "TRIBUTARY_TEST_EVENTBRIDGE"
	return live{os.Getenv(prefix), os.Getenv(prefix + "_BUS"), os.Getenv(prefix + "_QUEUE"), os.Getenv(prefix + "_OVERFLOW")}
}

// livePlace tells its events from those of other places by their source.
func livePlace(t *testing.T, l live) connectortest.DestinationPlace {
	c, err := connectors.Decode[Connection](json.RawMessage(l.Connection))
	if err != nil {
		t.Fatal(err)
	}
	source := "tributary-test." + uuid.NewString()
	settings := Settings{Bus: l.Bus, Source: source, Overflow: l.Overflow}
	var all []connectortest.Row
	return connectortest.DestinationPlace{
		Open: func(t *testing.T, _ connectors.Mode) connectors.Destination { return openAt(t, c, settings) },
		Rows: func(t *testing.T) []connectortest.Row {
			for silence := time.Now(); time.Since(silence) < 20*time.Second; {
				for _, m := range queue(t, c, l.Queue, "ReceiveMessage", map[string]any{"MaxNumberOfMessages": 10, "WaitTimeSeconds": 5}).Get("Messages").Array() {
					event := m.Get("Body").Str
					if gjson.Get(event, "source").Str != source {
						continue // of another place, which looks for it when it is visible again
					}
					queue(t, c, l.Queue, "DeleteMessage", map[string]any{"ReceiptHandle": m.Get("ReceiptHandle").Str})
					all = append(all, row(t, gjson.Get(event, "detail").Raw, func(url string) []byte { return object(t, c, url) }))
					silence = time.Now()
				}
			}
			return all
		},
	}
}

func object(t *testing.T, c Connection, url string) []byte {
	t.Helper()
	a, err := newAccount(c, connectors.Env{})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	bucket, name, _ := strings.Cut(strings.TrimPrefix(url, "s3://"), "/")
	b, err := a.bucket(bucket)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	data, err := b.ReadAll(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// queue calls SQS: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
func queue(t *testing.T, c Connection, url, action string, in map[string]any) gjson.Result {
	t.Helper()
	in["QueueUrl"] = url
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, fmt.Sprintf("https://sqs.%s.amazonaws.com/", c.Region), bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	sum := sha256.Sum256(body)
	keys := aws.Credentials{AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken}
	if err := v4.NewSigner().SignHTTP(context.Background(), keys, req, hex.EncodeToString(sum[:]), "sqs", c.Region, time.Now()); err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var out json.RawMessage
	if err := json.NewDecoder(res.Body).Decode(&out); err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: HTTP %d, %v", action, res.StatusCode, err)
	}
	return gjson.ParseBytes(out)
}
