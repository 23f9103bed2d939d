package lan

import (
	"testing"
	"time"
)

// TestFlowBeginsBehindTheLastPause shows a link that shakes hands, waits, and then sends.
func TestFlowBeginsBehindTheLastPause(t *testing.T) {
	f := flow{rate: 1e6}
	origin := time.Unix(0, 0)
	sent := int64(5000) // long before
	for ms := range 1000 {
		switch {
		case ms >= 10 && ms < 30: // shorter than a flow
			sent += 10_000
		case ms >= 100 && ms%10 == 0 && ms < 200: // never silent, but too little
			sent += 900
		case ms >= 300:
			sent += 12_500
		}
		if f.sees(origin.Add(time.Duration(ms)*time.Millisecond), sent) {
			if began := f.began.Sub(origin).Milliseconds(); began != 299 || ms != 320 {
				t.Errorf("began at %d ms, seen at %d", began, ms)
			}
			return
		}
	}
	t.Error("no flow seen")
}
