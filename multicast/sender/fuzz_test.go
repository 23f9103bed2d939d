package sender

import (
	"net/netip"
	"testing"

	"github.com/scatter-vm/scatter/multicast/wire"
)

// FuzzSenderControl passes the sender two messages of a target that is out of its mind, between sending and sending.
func FuzzSenderControl(f *testing.F) {
	f.Add(wire.Answer{Channel: 1, Window: simWindow}.Append(nil), (&wire.Report{Channels: []wire.Progress{{
		Channel: 1, Multicast: wire.Path{Highest: 40}, Blocks: []wire.Holding{{Stripes: []uint8{3}}, {Placed: true}},
	}}}).Append(nil))
	f.Add(wire.Refusal{Channel: 1}.Append(nil), wire.Answer{Channel: 1, Unicast: true, Window: simWindow}.Append(nil))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		config := simConfig(simWindow, simPacket)
		config.Socket.Joint = false
		s, err := New(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := s.AddTarget("t", netip.MustParseAddrPort("10.0.0.1:9")); err != nil {
			t.Fatal(err)
		}
		ch, err := s.Open(0, Channel{ID: 1, Group: group(1), Members: []string{"t"}})
		if err != nil {
			t.Fatal(err)
		}
		_ = s.Receive(0, "t", a)
		if !ch.Opening() && ch.Live() > 0 {
			s.Send(ch, make([]byte, 20_000))
			s.Send(ch, make([]byte, 300_000))
		}
		var out Burst
		for range 10 {
			if _, err := s.Next(0, &out); err != nil {
				t.Fatal(err)
			}
		}
		_ = s.Receive(1, "t", b)
		s.Tick(2)
		for range 2000 {
			if ok, err := s.Next(2, &out); err != nil || !ok {
				break
			}
		}
		if s.window.used < 0 || s.schedule.signals.Len() > 1000 {
			t.Fatalf("%d bytes used, %d signals", s.window.used, s.schedule.signals.Len())
		}
	})
}
