package traffic

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"
)

// TestMeter: what passes an interface is seen in the rate, which is not known before the second reading, nor of an interface that is not there.
func TestMeter(t *testing.T) {
	m := Meter{Interface: "lo"}
	if _, err := m.Rate(); err == nil {
		t.Error("a rate before any reading")
	}
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	wg.Go(func() { m.Watch(ctx) })
	c, err := net.Dial("udp", "127.0.0.1:9") // nobody listens, which lo does not know
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		_, _ = c.Write(make([]byte, 1000)) // refused now and then
		if r, err := m.Rate(); err == nil && r.Sent >= 10000 && r.Received >= 10000 {
			break
		}
		if time.Now().After(end) {
			t.Fatal("nothing was seen of it")
		}
	}
	missing := Meter{Interface: "no-such"}
	missing.read()
	if _, err := missing.Rate(); err == nil {
		t.Error("a rate of an interface that is not there")
	}
}
