package model

import (
	"testing"
	"time"
)

func TestStallErrorNamesTheRemedies(t *testing.T) {
	err := &StallError{VM: "web", Predicted: 1234567 * time.Microsecond, Limit: 300 * time.Millisecond}
	const want = "vm web dirties memory faster than the link can carry: its pause would last about 1.235s, 300ms is allowed (--downtime, --on-stall throttle or pause)"
	if err.Error() != want {
		t.Errorf("got %q", err)
	}
}
