package multicast

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// TestSocketsAreBounded: a source makes a target open few sockets, each of which has a thread, however many ports it names.
func TestSocketsAreBounded(t *testing.T) {
	local := netip.MustParseAddr("127.0.0.1")
	var refusals atomic.Int64
	r, err := NewReceiver(ReceiverConfig{
		Interface: "lo", Local: local, Source: local, Deliver: func(ChannelID, uint64, []byte) error { return nil },
		Control: func(m []byte) error {
			if wire.Type(m[0]) == wire.TypeRefusal {
				refusals.Add(1)
			}
			return nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	say := func(m []byte) {
		t.Helper()
		if err := r.HandleControl(m); err != nil {
			t.Fatal(err)
		}
	}
	say(wire.Key{Epoch: 0, Salt: [wire.SaltSize]byte{1}}.Append(nil))
	announce := func(channel uint16, port int) []byte {
		group := netip.AddrPortFrom(netip.AddrFrom4([4]byte{232, 1, 1, 1}), uint16(port))
		return wire.Announce{Channel: channel, ID: uint32(port), Group: group}.Append(nil)
	}
	for port := 20_000; port < 20_500; port++ {
		say(announce(1, port))
		say(wire.Close{Channel: 1}.Append(nil))
		if n := r.groups.count(); n > maxIdle+1 {
			t.Fatalf("%d sockets after %d ports", n, port-20_000)
		}
	}
	for i := range 100 {
		say(announce(uint16(10+i), 21_000+i))
	}
	if n := r.groups.count(); n != MaxSockets {
		t.Errorf("%d sockets, want %d", n, MaxSockets)
	}
	for until := time.Now().Add(10 * time.Second); refusals.Load() < 100-MaxSockets; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d refusals, want at least %d", refusals.Load(), 100-MaxSockets)
		}
	}
}
