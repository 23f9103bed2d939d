package target

import (
	"errors"
	"net"
	"os"
	"time"

	"github.com/scatter-vm/scatter/multicast/probe"
	"github.com/scatter-vm/scatter/multicast/udp"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/system"
)

// listen begins to count probes for the source, and tells what this target has for receiving.
func (s *session) listen(m control.Listen) error {
	s.stopListening()
	answer, err := s.openListener(m)
	if err != nil {
		answer.Error = err.Error()
	}
	return s.conn.Send(answer)
}

func (s *session) openListener(m control.Listen) (answer control.Listening, err error) {
	name := s.r.cfg.Interface
	if !validSource(m.Source) {
		return answer, errors.New("source address is malformed")
	}
	local, err := s.localFor(m.Source)
	if err != nil {
		return answer, err
	}
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return answer, err
	}
	conf := probe.Config{Options: udp.Options{Interface: name, Local: local, Ports: s.r.cfg.Ports}, Source: m.Source, AnySource: m.AnySource,
		SourceSpecific: m.SourceSpecific, Port: m.Port, For: min(max(time.Duration(m.Seconds), 1), model.MaxListen/time.Second) * time.Second}
	if copy(conf.Key[:], m.Key); len(m.Key) != len(conf.Key) {
		return answer, errors.New("key is malformed")
	}
	if s.probes, err = probe.Listen(conf); err != nil {
		return answer, err
	}
	answer = control.Listening{Datagram: s.probes.Addr(), NotJoined: system.Text(s.probes.NotJoined), Blind: system.Text(s.probes.Blind),
		MTU: ifi.MTU, Buffer: s.probes.Buffer(), Merges: s.probes.Merges(), Memberships: -1}
	if n, err := system.ReadNumber(os.DirFS("/"), system.MembershipLimit); err == nil && local.Is4() {
		answer.Memberships = n
	}
	return answer, nil
}

// count tells what has come since listen.
func (s *session) count() error {
	if s.probes == nil {
		return errors.New("count before listen")
	}
	var answer control.Counted
	for _, c := range s.probes.Counts() {
		answer.Probes = append(answer.Probes, control.Probed{Path: uint8(c.Path), Packet: c.Packet, Seen: c.Seen, Rounds: c.Rounds})
	}
	answer.Queries, answer.Querier = s.probes.Queries()
	return s.conn.Send(answer)
}

func (s *session) stopListening() {
	if s.probes != nil {
		s.probes.Close()
		s.probes = nil
	}
}
