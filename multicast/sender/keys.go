package sender

import (
	"encoding/binary"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/multicast/seal"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// Keys is what the keys of the datagrams are made of.
type Keys struct {
	Secret     [32]byte // of the evacuation
	Evacuation [8]byte
	Salt       func() [wire.SaltSize]byte // never the same twice
}

// make makes the key of an epoch.
func (k *Keys) make(number uint8) (keyEpoch, error) {
	salt := k.Salt()
	epoch, err := seal.NewEpoch(number%wire.Epochs, k.Secret, k.Evacuation, salt)
	return keyEpoch{epoch, salt}, err
}

// cookie is a number that nobody can guess.
func (k *Keys) cookie() uint16 {
	b := k.Salt()
	return binary.BigEndian.Uint16(b[:])
}

// keyEpoch is a key and what a target needs to make it.
type keyEpoch struct {
	*seal.Epoch
	salt [wire.SaltSize]byte
}

func (e keyEpoch) message() []byte { return wire.Key{Epoch: e.Number(), Salt: e.salt}.Append(nil) }

// keys follows the key epochs of a sender. A target that has been ejected knows the key of that time: the sender makes
// another, tells it to the live targets, and uses it as soon as all of them have it.
type keys struct {
	Keys
	roster  *roster
	out     *outbox
	current keyEpoch
	coming  *keyEpoch // told, and not yet known to all
	since   instant   // when it was told
	stale   bool      // a target that knows it has been ejected
	changes uint64
}

// tell tells a new target the key, and the coming one.
func (k *keys) tell(t *target) {
	k.out.tell(t, k.current.message())
	if k.coming != nil {
		k.out.tell(t, k.coming.message())
	}
}

// change begins a key epoch. Whoever is ejected while one is coming knows that, too: another follows, when it has become the key.
func (k *keys) change(now instant) {
	if k.coming != nil {
		k.stale = true
		k.adopt(now) // perhaps only the ejected one had not got it
		return
	}
	next, err := k.make(k.current.Number() + 1)
	if err != nil {
		return // of the primitives, which have worked before
	}
	k.coming, k.since = &next, now
	for _, t := range k.roster.live() {
		k.out.tell(t, next.message())
	}
}

// known notes which key a target knows. None is told but the current one and the coming one.
func (k *keys) known(now instant, t *target, number uint8) error {
	if number != k.current.Number() && (k.coming == nil || number != k.coming.Number()) {
		return fmt.Errorf("key epoch %d: %w", number, wire.ErrFormat)
	}
	t.keyed = int(number)
	k.adopt(now)
	return nil
}

// adopt uses the coming key when all live targets have it.
func (k *keys) adopt(now instant) {
	if k.coming == nil || !k.roster.know(k.coming.Number()) {
		return
	}
	k.current, k.coming = *k.coming, nil
	k.changes++
	if k.stale {
		k.stale = false
		k.change(now)
	}
}

// overdue is a target that has not said for so long that it knows the coming key, nil if there is none: until it does, an ejected one can read on.
func (k *keys) overdue(now instant, patience time.Duration) *target {
	if k.coming == nil || now-k.since < patience {
		return nil
	}
	for _, t := range k.roster.live() {
		if t.keyed != int(k.coming.Number()) {
			return t
		}
	}
	return nil
}
