package local

// queue is a heap of units by what they gain; among equals the one that came last is first, as neighbours of what has just moved should be.
type queue struct {
	heap  []waiting
	place []int32 // unit -> its index in heap + 1, 0 if it is not there
	age   int32
}

type waiting struct {
	gain int64
	age  int32
	unit int32
}

func (w waiting) less(x waiting) bool { return w.gain < x.gain || w.gain == x.gain && w.age < x.age }

func (q *queue) len() int             { return len(q.heap) }
func (q *queue) top() waiting         { return q.heap[0] }
func (q *queue) gainOf(u int32) int64 { return q.heap[q.place[u]-1].gain }
func (q *queue) put(i int, w waiting) { q.heap[i] = w; q.place[w.unit] = int32(i) + 1 }

func (q *queue) clear() {
	for _, w := range q.heap {
		q.place[w.unit] = 0
	}
	q.heap = q.heap[:0]
}

// set says what u gains. It is taken in if it is not there.
func (q *queue) set(u int32, gain int64) {
	i := int(q.place[u]) - 1
	if i < 0 {
		i = len(q.heap)
		q.heap = append(q.heap, waiting{})
	} else if q.heap[i].gain == gain {
		return
	}
	q.age++
	w := waiting{gain, q.age, u}
	q.sink(q.rise(i, w), w)
}

func (q *queue) remove(u int32) {
	i := int(q.place[u]) - 1
	if i < 0 {
		return
	}
	q.place[u] = 0
	last := len(q.heap) - 1
	w := q.heap[last]
	q.heap = q.heap[:last]
	if i < last {
		q.sink(q.rise(i, w), w)
	}
}

// rise puts w at i or above.
func (q *queue) rise(i int, w waiting) int {
	for i > 0 {
		up := (i - 1) / 2
		if !q.heap[up].less(w) {
			break
		}
		q.put(i, q.heap[up])
		i = up
	}
	q.put(i, w)
	return i
}

// sink puts w at i or below.
func (q *queue) sink(i int, w waiting) {
	for {
		down := 2*i + 1
		if down >= len(q.heap) {
			break
		}
		if down+1 < len(q.heap) && q.heap[down].less(q.heap[down+1]) {
			down++
		}
		if !w.less(q.heap[down]) {
			break
		}
		q.put(i, q.heap[down])
		i = down
	}
	q.put(i, w)
}
