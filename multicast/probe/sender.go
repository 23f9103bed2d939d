package probe

import (
	"bytes"
	"errors"
	"net/netip"

	"github.com/scatter-vm/scatter/multicast/udp"
)

// ErrRounds says that a listener would not tell another round from the first.
var ErrRounds = errors.New("no round is left")

// Sender sends probes to one listener. It is for one goroutine.
type Sender struct {
	conn    *udp.Sender
	key     Key
	to      [Paths]netip.AddrPort
	packets []int
	round   int
	failed  [Paths]error
}

// NewSender opens the socket. to says where each path leads; a path without an address is left out.
func NewSender(options udp.Options, key Key, to [Paths]netip.AddrPort) (*Sender, error) {
	conn, err := udp.NewSender(options)
	if err != nil {
		return nil, err
	}
	to[Bursts] = to[Unicast]
	return &Sender{conn: conn, key: key, to: to, packets: Packets(conn.MTU())}, nil
}

// burst is how many datagrams a burst has.
const burst = 3

// Cuts tells whether this host's system cuts bursts up; else there are no probes of Bursts.
func (s *Sender) Cuts() bool { return s.conn.Segments() }

// Packets are the sizes that a round has.
func (s *Sender) Packets() []int { return s.packets }

// Round sends a datagram of each size on each path; on Stranger first, so that whoever has heard the others has had the time
// to see it.
func (s *Sender) Round() error {
	if s.round == MaxRounds {
		return ErrRounds
	}
	for path, to := range s.to {
		if to.IsValid() {
			s.send(Path(path), to)
		}
	}
	s.round++
	return nil
}

func (s *Sender) send(path Path, to netip.AddrPort) {
	if path == Bursts {
		s.sendBurst(to)
		return
	}
	for _, packet := range s.packets {
		b := s.key.seal(datagram{path, s.round, packet}, headers(s.conn.Local()))
		if err := s.conn.Send(to, b, len(b), false); err != nil {
			s.failed[path] = err
		}
	}
}

func (s *Sender) sendBurst(to netip.AddrPort) {
	if !s.Cuts() {
		return
	}
	b := s.key.seal(datagram{Bursts, s.round, s.packets[len(s.packets)-1]}, headers(s.conn.Local()))
	if err := s.conn.Send(to, bytes.Repeat(b, burst), len(b), true); err != nil {
		s.failed[Bursts] = err
	}
}

// Err is why the system has not let datagrams of a path out, if it has not.
func (s *Sender) Err(path Path) error { return s.failed[path] }

// Close closes the socket.
func (s *Sender) Close() error { return s.conn.Close() }
