package target

import (
	"errors"

	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/hear"
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
	if !validSource(m.Source) {
		return answer, errors.New("source address is malformed")
	}
	local, err := s.localFor(m.Source)
	if err != nil {
		return answer, err
	}
	s.probes, answer, err = hear.Begin(m, s.r.cfg.Interface, local, s.r.cfg.Ports)
	return answer, err
}

// count tells what has come since listen.
func (s *session) count() error {
	if s.probes == nil {
		return errors.New("count before listen")
	}
	return s.conn.Send(hear.Count(s.probes))
}

func (s *session) stopListening() {
	if s.probes != nil {
		s.probes.Close()
		s.probes = nil
	}
}
