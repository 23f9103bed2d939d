package seal

// WindowSize is how many sequence numbers behind the highest can still be told apart. Groups and unicast share the
// numbers, and each has its own way through the network: 65,536 frames of 1500 bytes are 90 MB, or 80 ms at 10 Gbit/s.
const WindowSize = 1 << 16

// Window remembers which sequence numbers have been seen. The zero value has seen none.
type Window struct {
	next uint64 // one above the highest seen
	seen [WindowSize / 64]uint64
}

// Fresh tells whether sequence has not been seen and is not too old to tell.
func (w *Window) Fresh(sequence uint64) bool {
	if sequence >= w.next {
		return true
	}
	return w.next-sequence <= WindowSize && w.seen[sequence%WindowSize/64]&(1<<(sequence%64)) == 0
}

// Add notes a fresh sequence as seen.
func (w *Window) Add(sequence uint64) {
	if sequence >= w.next {
		w.forget(sequence)
		w.next = sequence + 1
	}
	w.seen[sequence%WindowSize/64] |= 1 << (sequence % 64)
}

// forget clears the places of next..sequence, which belonged to numbers a window earlier.
func (w *Window) forget(sequence uint64) {
	if sequence-w.next >= WindowSize {
		clear(w.seen[:])
		return
	}
	for n := w.next; n <= sequence; {
		if n%64 == 0 && sequence-n >= 64 {
			w.seen[n%WindowSize/64] = 0
			n += 64
			continue
		}
		w.seen[n%WindowSize/64] &^= 1 << (n % 64)
		n++
	}
}
