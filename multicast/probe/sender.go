package probe

import (
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
	options.Plain = true
	conn, err := udp.NewSender(options)
	if err != nil {
		return nil, err
	}
	return &Sender{conn: conn, key: key, to: to, packets: Packets(conn.MTU())}, nil
}

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
	for _, packet := range s.packets {
		b := s.key.seal(datagram{path, s.round, packet}, headers(s.conn.Local()))
		if err := s.conn.Send(to, b, len(b)); err != nil {
			s.failed[path] = err
		}
	}
}

// Err is why the system has not let datagrams of a path out, if it has not.
func (s *Sender) Err(path Path) error { return s.failed[path] }

// Close closes the socket.
func (s *Sender) Close() error { return s.conn.Close() }
