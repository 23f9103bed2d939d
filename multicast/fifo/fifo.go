// Package fifo is a queue.
package fifo

// Queue is first in, first out; its memory is used again.
type Queue[T any] struct {
	items []T
	head  int
}

// Push adds v at the end.
func (q *Queue[T]) Push(v T) {
	if q.head > 0 && len(q.items) == cap(q.items) {
		q.items = append(q.items[:0], q.items[q.head:]...)
		q.head = 0
	}
	q.items = append(q.items, v)
}

// Len is how many wait.
func (q *Queue[T]) Len() int { return len(q.items) - q.head }

// Front is the next to leave; there must be one.
func (q *Queue[T]) Front() T { return q.items[q.head] }

// Pop takes the next one out; there must be one.
func (q *Queue[T]) Pop() T {
	var zero T
	v := q.items[q.head]
	q.items[q.head] = zero
	q.head++
	if q.head == len(q.items) {
		q.items, q.head = q.items[:0], 0
	}
	return v
}
