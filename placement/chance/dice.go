// Package chance draws numbers fast enough for the innermost loops of searches, the same for the same seed on every machine.
package chance

import (
	"math"
	"math/bits"
	"math/rand/v2"
)

// Dice is a small fast source of chance for the innermost loop: a Weyl sequence, mixed by multiplication.
type Dice struct{ state uint64 }

// NewDice draws where to begin.
func NewDice(rng *rand.Rand) Dice { return Dice{rng.Uint64()} }

func (d *Dice) next() uint64 {
	d.state += 0xa0761d6478bd642f
	hi, lo := bits.Mul64(d.state, d.state^0xe7037ed1a0b428db)
	return hi ^ lo
}

// Roll returns a number from 0 to n-1; n must be positive and below 2^32.
func (d *Dice) Roll(n int) int { return int((d.next() >> 32) * uint64(n) >> 32) }

// Exponential returns one of 4096 numbers distributed exponentially around 1.
func (d *Dice) Exponential() float64 { return exponentials[d.next()>>52] }

// exponentials are the quantiles of the exponential distribution in the middle of 4096 equal parts.
var exponentials = func() (t [4096]float64) {
	for i := range t {
		t[i] = -math.Log((float64(i) + 0.5) / float64(len(t)))
	}
	return t
}()
