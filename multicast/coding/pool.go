package coding

// Pool keeps buffers of the footprint classes for use again, within a bound on those in use and kept.
type Pool struct {
	limit int
	used  int
	kept  int
	free  map[int][][]byte
}

// NewPool makes a pool of at most limit bytes.
func NewPool(limit int) Pool { return Pool{limit: limit, free: map[int][][]byte{}} }

// Limit is how many bytes there are at most.
func (p *Pool) Limit() int { return p.limit }

// Used is how many of them are in use.
func (p *Pool) Used() int { return p.used }

// Get gives a buffer for a block of length bytes, nil if that would exceed the limit.
func (p *Pool) Get(length int) []byte {
	class := Footprint(length)
	if p.used+class > p.limit {
		return nil
	}
	p.used += class
	if list := p.free[class]; len(list) > 0 {
		p.free[class] = list[:len(list)-1]
		p.kept -= class
		return list[len(list)-1]
	}
	if p.used+p.kept > p.limit {
		clear(p.free)
		p.kept = 0
	}
	return make([]byte, class)
}

// Put takes a buffer back.
func (p *Pool) Put(b []byte) {
	b = b[:cap(b)]
	p.used -= len(b)
	p.kept += len(b)
	p.free[len(b)] = append(p.free[len(b)], b)
}

// Footprint is the memory that a block of length bytes is counted with, at both ends: the size class of the buffer that
// a receiver puts it together in. Classes are a quarter of a power of two apart.
func Footprint(length int) int {
	n := length + length>>9 + 512 // padding, and the bookkeeping
	step := 256
	for n > 8*step {
		step *= 2
	}
	return (n + step - 1) / step * step
}
