package traffic

import (
	"math"
	"strings"
	"testing"
	"time"
)

const header = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
`

func TestCounters(t *testing.T) {
	const dev = header + `    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
  tap1: 101 1 0 0 0 0 0 0 202 2 0 0 0 0 0 0
 tap11:18446744073709551615 1 0 0 0 0 0 0 0 2 0 0 0 0 0 0
eth0:1: 303 1 0 0 0 0 0 0 404 2 0 0 0 0 0 0 77 88
  eth0: 505 1 0 0 0 0 0 0 606 2 0 0 0 0 0 0
 short: 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15
   big: 18446744073709551616 1 0 0 0 0 0 0 1 2 0 0 0 0 0 0
 minus: 1 1 0 0 0 0 0 0 -1 2 0 0 0 0 0 0
 empty:
`
	for name, want := range map[string]Bytes{"lo": {}, "tap1": {202, 101}, "tap11": {0, math.MaxUint64}, "eth0:1": {404, 303}, "eth0": {606, 505}} {
		if got, err := countersOf(dev, name); err != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", name, got, err, want)
		}
	}
	for _, name := range []string{"short", "big", "minus", "empty", "tap", "tap111", "ap1", "face", "", " tap1"} {
		if got, err := countersOf(dev, name); err == nil {
			t.Errorf("%q: %v", name, got)
		}
	}
	for end := range dev { // of a device whose line is cut, nothing is made up
		if got, err := countersOf(dev[:end], "tap1"); err == nil && got != (Bytes{202, 101}) {
			t.Errorf("after %d bytes: %v", end, got)
		}
	}
}

func TestDeviceOfFile(t *testing.T) {
	for fdinfo, want := range map[string]string{
		"pos:\t0\nflags:\t02104002\nmnt_id:\t25\nino:\t88\niff:\ttap1\n": "tap1",
		"pos:\t0\niff:\ta:b%-é\n":                                        "a:b%-é",
		"pos:\t0\niff:\ttap1":                                            "tap1",
		"pos:\t0\niff:\t\n":                                              "", // closed by its other end, or never joined
		"pos:\t0\nflags:\t02104002\n":                                    "",
		"niff:\ttap1\n":                                                  "",
		"":                                                               "",
	} {
		if got := deviceOf(fdinfo); got != want {
			t.Errorf("%q: %q, want %q", fdinfo, got, want)
		}
	}
}

func TestIndexOfFile(t *testing.T) {
	for link, want := range map[string]int{"/dev/tap7": 7, "/elsewhere/dev/tap12": 12} {
		if got, ok := indexOf(link); !ok || got != want {
			t.Errorf("%s: %d, %v, want %d", link, got, ok, want)
		}
	}
	for _, link := range []string{"", "/", "/dev/tap", "/dev/tap-1", "/dev/tap0", "/dev/tapx", "/dev/tap7 (deleted)", "/dev/tap7/x", "/dev/7", "socket:[7]", "/dev/tap99999999999999999999"} {
		if got, ok := indexOf(link); ok {
			t.Errorf("%q: %d", link, got)
		}
	}
}

func TestNameOfIndex(t *testing.T) {
	const list = "2    eth0            1     0     333300000001\n12   mv0             2     0     01005e000001\n12   mv0             1     0     3333ff000009\n3\n\n"
	for index, want := range map[int]string{2: "eth0", 12: "mv0", 1: "", 3: "", 4: ""} {
		if got := nameOf(list, index); got != want {
			t.Errorf("%d: %q, want %q", index, got, want)
		}
	}
}

// TestSince: a rate is that of all devices, and unknown when one of them has begun anew, which the others must not hide.
func TestSince(t *testing.T) {
	reading := func(at time.Duration, each ...Bytes) Reading {
		return Reading{At: time.Unix(100, 0).Add(at), each: each}
	}
	was := reading(0, Bytes{1000, 5000}, Bytes{7, 70})
	got, err := reading(500*time.Millisecond, Bytes{1100, 5000}, Bytes{107, 71}).Since(was)
	if want := (Rate{Sent: 400, Received: 2, Over: 500 * time.Millisecond}); err != nil || got != want {
		t.Errorf("%+v, %v, want %+v", got, err, want)
	}
	for what, c := range map[string]struct {
		now  Reading
		word string
	}{
		"at the same moment":           {reading(0, Bytes{1100, 5000}, Bytes{107, 71}), "no time"},
		"before":                       {reading(-time.Second, Bytes{1100, 5000}, Bytes{107, 71}), "no time"},
		"one has sent less":            {reading(time.Second, Bytes{9000, 9000}, Bytes{6, 71}), "went back"},
		"one has received less":        {reading(time.Second, Bytes{9000, 4999}, Bytes{107, 71}), "went back"},
		"of fewer devices":             {reading(time.Second, Bytes{9000, 9000}), "1 network devices"},
		"of a VM without network card": {reading(time.Second), "0 network devices"},
	} {
		if got, err := c.now.Since(was); err == nil || !strings.Contains(err.Error(), c.word) {
			t.Errorf("%s: %+v, %v", what, got, err)
		}
	}
	if got, err := reading(time.Second).Since(reading(0)); err != nil || got != (Rate{Over: time.Second}) {
		t.Errorf("without a network card: %+v, %v", got, err)
	}
}
