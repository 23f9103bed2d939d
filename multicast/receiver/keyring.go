package receiver

import (
	"time"

	"github.com/scatter-vm/scatter/multicast/clock"
	"github.com/scatter-vm/scatter/multicast/seal"
	"github.com/scatter-vm/scatter/multicast/wire"
)

// keyring is the keys that the source has told, by epoch.
type keyring struct {
	key        [32]byte
	evacuation [8]byte
	epochs     [wire.Epochs]*seal.Epoch
	current    uint8         // epoch of the last authentic datagram
	retire     clock.Instant // when those before it are forgotten; clock.Never = they are
}

// learn makes the key of an epoch.
func (r *keyring) learn(k wire.Key) (err error) {
	r.epochs[k.Epoch], err = seal.NewEpoch(k.Epoch, r.key, r.evacuation, k.Salt)
	return err
}

// use notes that the source uses an epoch. Those before it stay good for a moment, for datagrams that are under way.
func (r *keyring) use(now clock.Instant, epoch uint8, rest time.Duration) {
	if ahead := (epoch - r.current) % wire.Epochs; ahead != 0 && ahead < wire.Epochs/2 {
		r.current, r.retire = epoch, now+rest
	}
}

// forget drops the epochs before the current one when their time is over: a target that was ejected knows them.
func (r *keyring) forget(now clock.Instant) {
	if r.retire == clock.Never || now < r.retire {
		return
	}
	r.retire = clock.Never
	for back := uint8(1); back <= wire.Epochs/2; back++ {
		r.epochs[(r.current+wire.Epochs-back)%wire.Epochs] = nil
	}
}
