package multicast

import (
	"github.com/scatter-vm/scatter/multicast/seal"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// keys makes the key epochs of a sender. A target that has been ejected knows the key of that time: the sender makes
// another, tells it to the live targets, and uses it as soon as all of them have it.
type keys struct {
	secret     [32]byte
	evacuation [8]byte
	random     func() [wire.SaltSize]byte
	current    keyEpoch
	coming     *keyEpoch // told, and not yet known to all
}

// keyEpoch is a key and what a target needs to make it.
type keyEpoch struct {
	*seal.Epoch
	salt [wire.SaltSize]byte
}

func (k *keys) make(number uint8) (keyEpoch, error) {
	salt := k.random()
	epoch, err := seal.NewEpoch(number%wire.Epochs, k.secret, k.evacuation, salt)
	return keyEpoch{epoch, salt}, err
}

func (e keyEpoch) message() []byte { return wire.Key{Epoch: e.Number(), Salt: e.salt}.Append(nil) }

// tellKeys tells a new target the key, and the coming one.
func (s *sendState) tellKeys(t *target) {
	s.control(t, s.keys.current.message())
	if s.keys.coming != nil {
		s.control(t, s.keys.coming.message())
	}
}

// changeKey begins a key epoch. If one was coming already, whoever has been ejected meanwhile knows it: it is left out.
func (s *sendState) changeKey() {
	number := s.keys.current.Number()
	if s.keys.coming != nil {
		number = s.keys.coming.Number()
	}
	next, err := s.keys.make(number + 1)
	if err != nil || next.Number() == s.keys.current.Number() {
		return // sixteen ejected at once: the last key that is coming stays
	}
	s.keys.coming = &next
	for _, name := range sortedNames(s.targets) {
		if t := s.targets[name]; t.live {
			s.control(t, next.message())
		}
	}
}

// keyed uses the coming key when all live targets have it.
func (s *sendState) keyed(t *target, number uint8) {
	t.keyed = number
	if s.keys.coming == nil {
		return
	}
	for _, t := range s.targets {
		if t.live && t.keyed != s.keys.coming.Number() {
			return
		}
	}
	s.keys.current, s.keys.coming = *s.keys.coming, nil
	s.stats.Keys++
}
