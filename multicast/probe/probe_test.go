package probe

import (
	"context"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/multicast/udp"
)

const before = 28 // bytes of IPv4 and UDP

var key = Key{1, 2, 3}

func TestPackets(t *testing.T) {
	for mtu, want := range map[int][]int{
		576:   {576},
		1500:  {576, 1280, 1400, 1420, 1450, 1480, 1492, 1500},
		1460:  {576, 1280, 1400, 1420, 1450, 1460},
		9000:  append(slices.Clone(common[:len(common)-1]), 9000),
		65536: append(slices.Clone(common), maxPacket),
	} {
		if got := Packets(mtu); !slices.Equal(got, want) {
			t.Errorf("MTU %d: %v, want %v", mtu, got, want)
		}
	}
}

// TestForgedProbesDoNotCount: whoever does not have the key cannot make, alter, cut or lengthen a probe.
func TestForgedProbesDoNotCount(t *testing.T) {
	want := datagram{AnySource, 63, 576}
	b := key.seal(want, before)
	if d, ok := key.open(b, before); !ok || d != want || len(b) != 576-before {
		t.Fatalf("%d bytes became %+v, %v", len(b), d, ok)
	}
	for i := range smallest {
		for bit := range 8 {
			altered := slices.Clone(b)
			altered[i] ^= 1 << bit
			if d, ok := key.open(altered, before); ok {
				t.Fatalf("byte %d altered: %+v", i, d)
			}
		}
	}
	for n := range b {
		if d, ok := key.open(b[:n], before); ok {
			t.Fatalf("cut to %d bytes: %+v", n, d)
		}
	}
	if _, ok := key.open(append(b, 0), before); ok {
		t.Error("one byte more passes")
	}
	if _, ok := (&Key{9}).open(b, before); ok {
		t.Error("passes under another key")
	}
	for _, d := range []datagram{{Paths, 0, 576}, {Unicast, MaxRounds, 576}} {
		if _, ok := key.open(key.seal(d, before), before); ok {
			t.Errorf("%+v passes", d)
		}
	}
}

func FuzzOpen(f *testing.F) {
	b := key.seal(datagram{Unicast, 1, 100}, before)
	f.Add(b)
	f.Add(b[:smallest])
	f.Fuzz(func(t *testing.T, b []byte) {
		if d, ok := key.open(b, before); ok && (d.path >= Paths || d.round >= MaxRounds || d.packet != len(b)+before) {
			t.Errorf("%+v of %d bytes", d, len(b))
		}
	})
}

func TestRepeatedProbesCountOnce(t *testing.T) {
	var y tally
	for range 3 {
		y.add(datagram{Unicast, 5, 1500}, false)
	}
	y.add(datagram{Unicast, 6, 1500}, false)
	y.add(datagram{Unicast, 5, 1500}, true)
	y.add(datagram{Stranger, 5, 576}, true)
	want := []Count{{Slot{Unicast, 1500, false}, 2}, {Slot{Stranger, 576, true}, 1}, {Slot{Unicast, 1500, true}, 1}}
	if got := y.counts(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestTallyIsBounded(t *testing.T) {
	var y tally
	for packet := range 10 * maxSlots {
		y.add(datagram{Unicast, 0, packet}, false)
	}
	y.add(datagram{Unicast, 1, 0}, false) // a known one counts on
	if n := y.counts(); len(n) != maxSlots || n[0].Rounds != 2 {
		t.Errorf("%d slots, the first has %d rounds", len(n), n[0].Rounds)
	}
	if most := 2 * int(Paths) * (len(common) + 1); most > maxSlots {
		t.Errorf("%d slots do not hold the %d of honest sources", maxSlots, most)
	}
}

var (
	local    = netip.MustParseAddr("127.0.0.1")
	loopback = udp.Options{Interface: "lo", Local: local}
	any4     = netip.MustParseAddr("239.77.9.1")
	specific = netip.MustParseAddr("239.77.9.2")
	stranger = netip.MustParseAddr("239.77.9.3")
)

const port = 9779

func good() Config {
	return Config{Options: loopback, Key: key, Source: local, AnySource: any4, SourceSpecific: specific, Port: port, For: time.Hour}
}

// TestLoopback has a listener hear what it joined, and see what it did not join: the loopback interface floods.
func TestLoopback(t *testing.T) {
	six := good()
	six.Source = netip.IPv6Loopback()
	six.Options.Local = six.Source
	six.AnySource, six.SourceSpecific = netip.MustParseAddr("ff15::77:1"), netip.MustParseAddr("ff15::77:2")
	at := func(a netip.Addr) netip.AddrPort { return netip.AddrPortFrom(a, port) }
	t.Run("IPv4", func(t *testing.T) {
		testLoopback(t, good(), [Paths]netip.AddrPort{Stranger: at(stranger), SourceSpecific: at(specific), AnySource: at(any4)})
	})
	t.Run("IPv6", func(t *testing.T) { testLoopback(t, six, [Paths]netip.AddrPort{}) }) // whose groups have no route there
}

func testLoopback(t *testing.T, c Config, to [Paths]netip.AddrPort) {
	l, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if l.NotJoined != nil || l.Buffer() == 0 || !l.Merges() {
		t.Fatalf("not joined: %v; buffer %d, merges %v", l.NotJoined, l.Buffer(), l.Merges())
	}
	if (l.Blind == nil) != (os.Getuid() == 0) {
		t.Errorf("blind: %v", l.Blind)
	}
	to[Unicast] = l.Addr()
	s, err := NewSender(c.Options, key, to)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range 2 {
		if err := s.Round(); err != nil {
			t.Fatal(err)
		}
	}
	var want []Count
	for _, seen := range []bool{false, true} {
		for path := range Paths {
			for _, packet := range s.Packets() {
				if (to[path].IsValid() || path == Bursts && packet == s.packets[len(s.packets)-1]) && (path != Stranger && !seen || seen && l.Blind == nil) {
					want = append(want, Count{Slot{path, packet, seen}, 2})
				}
			}
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for !slices.Equal(l.Counts(), want) {
		if ctx.Err() != nil {
			t.Fatalf("%v, want %v", l.Counts(), want)
		}
		time.Sleep(time.Millisecond)
	}
	for path := range Paths {
		if err := s.Err(path); err != nil {
			t.Errorf("path %d: %v", path, err)
		}
	}
}

func TestRoundsAreBounded(t *testing.T) {
	s, err := NewSender(loopback, key, [Paths]netip.AddrPort{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for range MaxRounds {
		if err := s.Round(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Round(); err != ErrRounds {
		t.Error(err)
	}
}

// TestListenerEndsByItself: it hears nothing more when its time is over.
func TestListenerEndsByItself(t *testing.T) {
	c := good()
	c.For = time.Nanosecond
	l, err := Listen(c)
	if err != nil {
		t.Fatal(err)
	}
	l.wg.Wait() // its readers
	l.Close()
}

func TestListenRefuses(t *testing.T) {
	for name, spoil := range map[string]func(*Config){
		"group that is none":     func(c *Config) { c.AnySource = local },
		"no group":               func(c *Config) { c.SourceSpecific = netip.Addr{} },
		"group of the link":      func(c *Config) { c.AnySource = netip.MustParseAddr("224.0.0.1") },
		"one group for both":     func(c *Config) { c.AnySource = c.SourceSpecific },
		"no source":              func(c *Config) { c.Source = netip.Addr{} },
		"group as the source":    func(c *Config) { c.Source = any4 },
		"two families":           func(c *Config) { c.AnySource = netip.MustParseAddr("ff15::77:1") },
		"IPv4 in IPv6":           func(c *Config) { c.AnySource = netip.AddrFrom16(any4.As16()) },
		"no port":                func(c *Config) { c.Port = 0 },
		"no time":                func(c *Config) { c.For = 0 },
		"interface that is none": func(c *Config) { c.Options.Interface = "none0" },
	} {
		c := good()
		spoil(&c)
		if l, err := Listen(c); err == nil {
			l.Close()
			t.Errorf("%s: listens", name)
		}
	}
}
