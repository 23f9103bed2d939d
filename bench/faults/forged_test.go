//go:build lab

package faults

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/multicast/seal"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// intruder returns a host of the network that is neither source nor target, with a certificate of the same authority.
func (s *scene) intruder() *lan.Host {
	s.t.Helper()
	const name = "intruder"
	for _, h := range s.Switch.Hosts() {
		if h.Name == name {
			return h
		}
	}
	h, err := s.Switch.AddHost(s.t.Context(), name)
	s.must(err)
	s.must(s.Issue(s.t.Context(), h))
	return h
}

// part is the test binary at work in a host.
type part struct {
	stdout, stderr lab.Buffer
	stop           func() error
}

// play starts a part in a host and waits until it says that it is ready.
func (s *scene) play(h *lan.Host, role string) *part {
	s.t.Helper()
	self, err := os.Executable()
	s.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.t.Context()))
	p := &part{}
	cmd := h.Command(ctx, self)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stdout, cmd.Stderr = &p.stdout, &p.stderr
	s.must(cmd.Start())
	p.stop = func() error {
		cancel()
		_ = cmd.Wait() // it ends by our signal
		if p.stderr.String() != "" {
			return errors.New(p.stderr.String())
		}
		return nil
	}
	s.t.Cleanup(func() { _ = p.stop() })
	s.awaits(role, func() error {
		if p.stdout.String() == "" {
			return errors.New("not ready: " + p.stderr.String())
		}
		return nil
	})
	return p
}

// Somebody on the network listens to the groups and answers each datagram with forgeries that claim to come from the source: the
// same again, the same with one bit changed, garbage, and a header that fits with a body under another key.
func TestFaultForgedSender(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	forger := s.play(s.intruder(), fmt.Sprintf("forge %s %s", s.Source.Interface, s.Source.Addr))
	s.awaits("the switch to know the forger", func() error {
		ok, err := s.intruder().Hears(s.t.Context(), netip.MustParseAddr(groupBase))
		if err == nil && !ok {
			err = errors.New("its first group is not yet known")
		}
		return err
	})
	o := s.send("--group-base", groupBase).finish()
	o.exits(s, 0)
	o.reports(s, evacuated, evacuated)
	s.must(forger.stop())
	var heard, sent int
	if _, err := fmt.Sscanf(lastLine(forger.stdout.String()), "heard %d sent %d", &heard, &sent); err != nil || heard < 100 || sent < 4*heard {
		t.Errorf("the forger has said %q", forger.stdout.String())
	}
	s.spread(s.Targets...)
}

func init() {
	roles["forge"] = func(args []string) error { return forge(args[0], netip.MustParseAddr(args[1])) }
}

const (
	groupBase  = "239.77.0.0"
	groupCount = 4
	groupPort  = 9770
)

// forge listens to the groups and answers until it is told to end.
func forge(device string, source netip.Addr) error {
	in, err := listenGroups(device)
	if err != nil {
		return err
	}
	out, err := rawSocket(device)
	if err != nil {
		return err
	}
	defer unix.Close(out)
	f := &forger{out: out, source: source}
	var key [32]byte
	rand.Read(key[:])
	if f.epoch, err = seal.NewEpoch(0, key, [8]byte{}, [wire.SaltSize]byte{}); err != nil {
		return err
	}
	go func() {
		<-terminated()
		in.Close()
	}()
	fmt.Println("ready")
	b := make([]byte, 1<<16)
	for {
		n, control, _, err := in.ReadFrom(b)
		if errors.Is(err, net.ErrClosed) {
			fmt.Printf("heard %d sent %d\n", f.heard, f.sent)
			return nil
		}
		if err != nil {
			return err
		}
		if err := f.answer(control.Dst.To4(), b[:n]); err != nil {
			return err
		}
	}
}

func listenGroups(device string) (*ipv4.PacketConn, error) {
	conn, err := net.ListenPacket("udp4", fmt.Sprintf("0.0.0.0:%d", groupPort))
	if err != nil {
		return nil, err
	}
	in := ipv4.NewPacketConn(conn)
	ifi, err := net.InterfaceByName(device)
	if err != nil {
		return nil, err
	}
	group := netip.MustParseAddr(groupBase)
	for range groupCount {
		if err := in.JoinGroup(ifi, &net.UDPAddr{IP: group.AsSlice()}); err != nil {
			return nil, err
		}
		group = group.Next()
	}
	return in, in.SetControlMessage(ipv4.FlagDst, true)
}

func rawSocket(device string) (int, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return 0, err
	}
	// Without loop we do not hear ourselves.
	return fd, errors.Join(unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MULTICAST_LOOP, 0), unix.BindToDevice(fd, device))
}

// forger sends datagrams as if they came from the source.
type forger struct {
	out         int
	source      netip.Addr
	epoch       *seal.Epoch
	heard, sent int
}

// answer sends four forgeries for a datagram of the source.
func (f *forger) answer(group net.IP, datagram []byte) error {
	f.heard++
	h, err := wire.ParseHeader(datagram)
	if err != nil {
		return fmt.Errorf("a datagram of the group is none of the protocol: %w", err)
	}
	changed := append([]byte(nil), datagram...)
	changed[len(changed)-1-f.heard%len(changed)] ^= 1
	garbage := make([]byte, f.heard%len(datagram))
	rand.Read(garbage)
	h.Sequence++
	wrongKey, err := f.epoch.Seal(nil, h, datagram[wire.Overhead:])
	if err != nil {
		return err
	}
	for _, forged := range [][]byte{datagram, changed, garbage, wrongKey} {
		if err := f.send(group, forged); err != nil {
			return err
		}
	}
	return nil
}

// send sends one datagram from the source's address.
func (f *forger) send(group net.IP, payload []byte) error {
	udp := binary.BigEndian.AppendUint16(nil, groupPort+1)
	udp = binary.BigEndian.AppendUint16(udp, groupPort)
	udp = binary.BigEndian.AppendUint16(udp, uint16(8+len(payload)))
	udp = append(append(udp, 0, 0), payload...) // no checksum
	ip := ipv4.Header{Version: 4, Len: ipv4.HeaderLen, TotalLen: ipv4.HeaderLen + len(udp), TTL: 4, Protocol: unix.IPPROTO_UDP,
		Src: f.source.AsSlice(), Dst: group}
	b, err := ip.Marshal()
	if err != nil {
		return err
	}
	err = unix.Sendto(f.out, append(b, udp...), 0, &unix.SockaddrInet4{Addr: [4]byte(group)})
	if errors.Is(err, unix.ENOBUFS) || errors.Is(err, unix.EAGAIN) {
		return nil // the queue is full: there are enough of them
	}
	f.sent++
	return err
}
