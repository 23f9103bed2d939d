package ledger

import (
	"testing"

	"pgregory.net/rapid"
)

// TestBuffersHaveOneOwner: a buffer that is given out is empty, has room for what it is for, and is nobody else's; what comes back is used
// again, but not kept without bound.
func TestBuffersHaveOneOwner(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var b Buffers
		var out [][]byte
		mine := map[*byte]bool{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(out) > 0 && rapid.Bool().Draw(t, "back") {
				i := rapid.IntRange(0, len(out)-1).Draw(t, "which")
				p := out[i]
				out[i] = out[len(out)-1]
				out = out[:len(out)-1]
				delete(mine, &p[0])
				b.put(p)
				continue
			}
			p := b.Get()
			if len(p) != 0 || cap(p) != fullBuffer {
				t.Fatalf("%d bytes of %d", len(p), cap(p))
			}
			n := rapid.SampledFrom([]int{1, leastHalf - 1, leastHalf, halfBuffer, halfBuffer + 1, fullBuffer}).Draw(t, "payload")
			size := n
			if n > halfBuffer {
				size = fullBuffer
			} else if n >= leastHalf {
				size = halfBuffer
			}
			fit := b.Fit(p[:n])
			if len(fit) != n || cap(fit) != size {
				t.Fatalf("%d bytes in %d, not %d", n, cap(fit), size)
			}
			if mine[&fit[0]] {
				t.Fatal("a buffer was given out twice")
			}
			mine[&fit[0]] = true
			out = append(out, fit)
		}
		if len(b.spare) > mostSpare {
			t.Fatalf("%d spare buffers", len(b.spare))
		}
	})
}
