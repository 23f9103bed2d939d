package udp

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

var loopback = Options{Interface: "lo", Local: netip.MustParseAddr("127.0.0.1")}

func pair(t testing.TB, o Options) (*Sender, *Receiver) {
	s, err := NewSender(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	r, err := NewReceiver(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return s, r
}

// TestBursts sends bursts of many shapes, with offloads and without, and wants each datagram as it was.
func TestBursts(t *testing.T) {
	v6 := Options{Interface: "lo", Local: netip.IPv6Loopback()}
	for _, o := range []Options{loopback, {Interface: "lo", Local: loopback.Local, Plain: true}, v6} {
		for _, c := range []struct{ n, size, last int }{{1, 1400, 1400}, {2, 1400, 1400}, {44, 1472, 1472}, {64, 500, 500}, {9, 1000, 1}} {
			t.Run(fmt.Sprintf("%v/plain=%v/%dx%d", o.Local, o.Plain, c.n, c.size), func(t *testing.T) {
				s, r := pair(t, o)
				b := make([]byte, (c.n-1)*c.size+c.last)
				for i := range b {
					b[i] = byte(i / c.size)
				}
				if err := s.Send(r.Addr(), b, c.size, true); err != nil {
					t.Fatal(err)
				}
				var got []byte
				for n := 0; n < c.n; {
					if err := r.Wait(); err != nil {
						t.Fatal(err)
					}
					r.Each(func(d []byte) {
						n++
						got = append(got, d...)
						if len(d) != c.size && (n != c.n || len(d) != c.last) {
							t.Errorf("datagram %d has %d bytes", n, len(d))
						}
					})
				}
				if !bytes.Equal(got, b) {
					t.Error("bytes differ")
				}
				if s.Segments() == o.Plain {
					t.Errorf("segments: %v", s.Segments())
				}
			})
		}
	}
}

func TestCloseEndsWait(t *testing.T) {
	_, r := pair(t, loopback)
	done := make(chan error)
	go func() { done <- r.Wait() }()
	r.Close()
	if err := <-done; !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

func TestUnknownInterface(t *testing.T) {
	if _, err := NewSender(Options{Interface: "none0"}); err == nil {
		t.Error("no error")
	}
}

// TestControls reads control messages as the kernel writes them, and cut short.
func TestControls(t *testing.T) {
	put := func(b []byte, level, kind, value uint32) []byte {
		b = binary.NativeEndian.AppendUint64(b, uint64(unix.CmsgLen(4)))
		b = binary.NativeEndian.AppendUint32(b, level)
		b = binary.NativeEndian.AppendUint32(b, kind)
		return binary.NativeEndian.AppendUint64(b, uint64(value))
	}
	b := put(put(nil, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 17), unix.SOL_UDP, unix.UDP_GRO, 1400)
	r := &Receiver{}
	if size := r.controls(b); size != 1400 || r.Overflow() != 17 {
		t.Errorf("size %d, overflow %d", size, r.Overflow())
	}
	for n := range b {
		r.controls(b[:n])
	}
}

func FuzzControls(f *testing.F) {
	f.Add(make([]byte, controlSize))
	f.Fuzz(func(t *testing.T, b []byte) { new(Receiver).controls(b) })
}

// BenchmarkBurst sends bursts of 44 datagrams, as many as one system call receives, and receives them: no allocation on either side.
func BenchmarkBurst(b *testing.B) {
	for _, plain := range []bool{false, true} {
		b.Run(fmt.Sprintf("plain=%v", plain), func(b *testing.B) {
			s, r := pair(b, Options{Interface: "lo", Local: loopback.Local, Plain: plain})
			burst, n := make([]byte, 44*1472), 0
			count := func([]byte) { n++ }
			b.SetBytes(int64(messages * len(burst)))
			b.ReportAllocs()
			for b.Loop() {
				for range messages {
					if err := s.Send(r.Addr(), burst, 1472, true); err != nil {
						b.Fatal(err)
					}
				}
				for n = 0; n < messages*44; {
					if err := r.Wait(); err != nil {
						b.Fatal(err)
					}
					r.Each(count)
				}
			}
		})
	}
}
