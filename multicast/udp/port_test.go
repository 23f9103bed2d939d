package udp

import (
	"strings"
	"testing"
)

// TestPortCountsWhatLeaves sends, and finds as much more in the counters.
func TestPortCountsWhatLeaves(t *testing.T) {
	s, r := pair(t, loopback)
	p, err := OpenPort(loopback)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	before, err := p.Sent()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 50_000)
	if err := s.Send(r.Addr(), b, 1000, true); err != nil {
		t.Fatal(err)
	}
	if after, err := p.Sent(); err != nil || after < before+uint64(len(b)) {
		t.Errorf("%d bytes before, %d after sending %d: %v", before, after, len(b), err)
	}
}

const portTable = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:  100       1    0    0    0     0          0         0      101       1    0    0    0     0       0          0
eth0.7:  200       1    0    0    0     0          0         0      201       1    0    0    0     0       0          0
  eth0:  300       1    0    0    0     0          0         0 18446744073709551615       1    0    0    0     0       0          0
  cut0:  300       1
`

func TestSentBytes(t *testing.T) {
	for name, want := range map[string]uint64{"lo": 101, "eth0": 1<<64 - 1, "eth0.7": 201} {
		if n, err := sentBytes([]byte(portTable), name); err != nil || n != want {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	for _, name := range []string{"eth", "cut0", "", " face |bytes    packets errs drop fifo frame compressed multicast|bytes"} {
		if n, err := sentBytes([]byte(portTable), name); err == nil {
			t.Errorf("%q: %d", name, n)
		}
	}
	if _, err := sentBytes([]byte(strings.Repeat("x", 100)), "lo"); err == nil {
		t.Error("found in a table of nothing")
	}
}
