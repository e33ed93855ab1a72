package magento

import (
	"fmt"
	"runtime"
	"strings"
	"testing"
)

// Parameters that hold the names of others multiply: unbounded, this body of 4 KiB would fill some 200 MiB, and a parameter more 60 GiB.
func TestAMessageDoesNotGrowWithoutBound(t *testing.T) {
	var parameters []string
	for i := range 3 {
		parameters = append(parameters, fmt.Sprintf(`"p%d":"%s"`, i, strings.Repeat(fmt.Sprintf("%%p%d ", i+1), 300)))
	}
	body := []byte(`{"message":"%p0 %p0","parameters":{` + strings.Join(parameters, ",") + `}}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	said := (&client{}).said(body)
	runtime.ReadMemStats(&after)
	if used := after.TotalAlloc - before.TotalAlloc; used > 8<<20 || len(said) > 300 {
		t.Errorf("%d bytes became a message of %d and allocated %d MiB", len(body), len(said), used>>20)
	}
}

func TestAParameterHoldsNoSecretAndNoHalfOfOne(t *testing.T) {
	t.Parallel()
	c := &client{secrets: []string{"canary-access-token"}}
	said := c.said([]byte(`{"message":"%a","parameters":{"a":"` + strings.Repeat("x", 190) + `canary-access-token"}}`))
	if strings.Contains(said, "canary") || !strings.Contains(said, "[secret") {
		t.Error(said)
	}
}
