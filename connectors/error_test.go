package connectors

import (
	"testing"
	"time"
)

// Every kind has its place among the weights, the heavier stands for both, and of equals the longer wait (I9).
func TestWeightier(t *testing.T) {
	t.Parallel()
	if len(weights) != len(Kinds) {
		t.Errorf("%d kinds have a weight, want %d", len(weights), len(Kinds))
	}
	for i := 1; i < len(weights); i++ {
		heavy, light := &Error{Kind: weights[i]}, &Error{Kind: weights[i-1], Wait: time.Hour}
		if Weightier(heavy, light) != heavy || Weightier(light, heavy) != heavy {
			t.Errorf("%s does not outweigh %s", heavy.Kind, light.Kind)
		}
	}
	long, short, again := &Error{Kind: RateLimited, Wait: 2}, &Error{Kind: RateLimited, Wait: 1}, &Error{Kind: RateLimited, Wait: 1}
	if Weightier(long, short) != long || Weightier(short, long) != long || Weightier(short, again) != short {
		t.Error("the longer wait does not outweigh")
	}
	if Weightier(nil, long) != long || Weightier(long, nil) != long || Weightier(nil, nil) != nil {
		t.Error("nothing outweighs something")
	}
}
