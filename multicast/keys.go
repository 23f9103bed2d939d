package multicast

import (
	"encoding/binary"
	"fmt"

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
	since      instant   // when it was told
	stale      bool      // a target that knows it has been ejected
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

// cookie is a number that nobody can guess.
func (k *keys) cookie() uint16 {
	b := k.random()
	return binary.BigEndian.Uint16(b[:])
}

func (e keyEpoch) message() []byte { return wire.Key{Epoch: e.Number(), Salt: e.salt}.Append(nil) }

// tellKeys tells a new target the key, and the coming one.
func (s *sendState) tellKeys(t *target) {
	s.control(t, s.keys.current.message())
	if s.keys.coming != nil {
		s.control(t, s.keys.coming.message())
	}
}

// changeKey begins a key epoch. Whoever is ejected while one is coming knows that, too: another follows, when it has become the key.
func (s *sendState) changeKey(now instant) {
	k := &s.keys
	if k.coming != nil {
		k.stale = true
		s.adoptKey(now) // perhaps only the ejected one had not got it
		return
	}
	next, err := k.make(k.current.Number() + 1)
	if err != nil {
		return // of the primitives, which have worked before
	}
	k.coming, k.since = &next, now
	for _, name := range sortedNames(s.targets) {
		if t := s.targets[name]; t.live {
			s.control(t, next.message())
		}
	}
}

// keyed notes which key a target knows. None is told but the current one and the coming one.
func (s *sendState) keyed(now instant, t *target, number uint8) error {
	k := &s.keys
	if number != k.current.Number() && (k.coming == nil || number != k.coming.Number()) {
		return fmt.Errorf("key epoch %d: %w", number, wire.ErrFormat)
	}
	t.keyed = int(number)
	s.adoptKey(now)
	return nil
}

// adoptKey uses the coming key when all live targets have it.
func (s *sendState) adoptKey(now instant) {
	k := &s.keys
	if k.coming == nil {
		return
	}
	for _, t := range s.targets {
		if t.live && t.keyed != int(k.coming.Number()) {
			return
		}
	}
	k.current, k.coming = *k.coming, nil
	s.stats.Keys++
	if k.stale {
		k.stale = false
		s.changeKey(now)
	}
}

// awaitKeys ejects targets that do not say that they know the coming key: until they do, an ejected one can read on.
func (s *sendState) awaitKeys(now instant) {
	k := &s.keys
	if k.coming == nil || now-k.since < s.timing.keyed {
		return
	}
	number := int(k.coming.Number())
	for _, name := range sortedNames(s.targets) {
		if t := s.targets[name]; t.live && t.keyed != number && k.coming != nil && number == int(k.coming.Number()) {
			s.lost(now, t, ErrKeyless)
		}
	}
}
