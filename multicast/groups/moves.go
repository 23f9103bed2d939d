package groups

// exchange replaces an edge at a and another edge, if that shortens the tour (2-opt).
func (t *tour) exchange(a int32) bool {
	return t.exchangeAfter(a) || t.exchangeBefore(a)
}

// exchangeAfter makes a-b and c-d into a-c and b-d, where b follows a and d follows c.
func (t *tour) exchangeAfter(a int32) bool {
	b := t.next(a)
	old := t.of(a, b)
	for _, c := range t.near[a] {
		if t.of(a, c) >= old {
			return false
		}
		d := t.next(c)
		if now, then := t.of(a, c)+t.of(b, d), old+t.of(c, d); now < then {
			t.reverse(b, c)
			t.changed(int(now)-int(then), a, b, c, d)
			return true
		}
	}
	return false
}

// exchangeBefore makes b-a and d-c into a-c and b-d, where b precedes a and d precedes c.
func (t *tour) exchangeBefore(a int32) bool {
	b := t.prev(a)
	old := t.of(a, b)
	for _, c := range t.near[a] {
		if t.of(a, c) >= old {
			return false
		}
		d := t.prev(c)
		if now, then := t.of(a, c)+t.of(b, d), old+t.of(c, d); now < then {
			t.reverse(a, d)
			t.changed(int(now)-int(then), a, b, c, d)
			return true
		}
	}
	return false
}

// changed notes a move that made the tour longer by more, and the places whose surroundings it changed.
func (t *tour) changed(more int, places ...int32) {
	t.length += more
	for _, c := range places {
		t.push(c)
	}
}

// reverse turns the stretch from a to b round, or, which is the same tour, all the rest.
func (t *tour) reverse(a, b int32) {
	i, j := int(t.pos[a]), int(t.pos[b])
	n := t.wrap(j-i) + 1
	if 2*n > t.n {
		i, j, n = t.wrap(j+1), t.wrap(i-1), t.n-n
	}
	for range n / 2 {
		x, y := t.at[i], t.at[j]
		t.put(i, y)
		t.put(j, x)
		i, j = t.wrap(i+1), t.wrap(j-1)
	}
}

// relocate moves up to maxSegment places, of which a is the first or last, next to a place near a, if that shortens the
// tour (Or-opt).
func (t *tour) relocate(a int32) bool {
	if t.n < maxSegment+3 {
		return false
	}
	first, last := a, a
	for range maxSegment {
		if t.relocateSegment(first, a, a) || t.relocateSegment(a, last, a) {
			return true
		}
		first, last = t.prev(first), t.next(last)
	}
	return false
}

// relocateSegment moves the stretch from first to last to where its end a is next to a place near a.
func (t *tour) relocateSegment(first, last, a int32) bool {
	before, after, other := t.prev(first), t.next(last), first
	if a == first {
		other = last
	}
	gain := int(t.of(before, first)+t.of(last, after)) - int(t.of(before, after))
	if gain <= 0 {
		return false
	}
	for _, c := range t.near[a] {
		if int(t.of(a, c)) >= gain {
			return false
		}
		if t.within(c, first, last) {
			continue
		}
		for _, d := range [2]int32{t.next(c), t.prev(c)} {
			if t.within(d, first, last) {
				continue
			}
			if more := int(t.of(c, a)+t.of(other, d)) - int(t.of(c, d)) - gain; more < 0 {
				t.move(first, last, c, d, a)
				t.changed(more, before, after, first, last, c, d)
				return true
			}
		}
	}
	return false
}

// within tells whether c is in the stretch from first to last.
func (t *tour) within(c, first, last int32) bool {
	return t.wrap(int(t.pos[c]-t.pos[first])) <= t.wrap(int(t.pos[last]-t.pos[first]))
}

// move puts the stretch from first to last between the neighbours c and d, with its end a next to c.
func (t *tour) move(first, last, c, d, a int32) {
	left, right := c, d // in the order of the tour
	turned := a == last
	if t.next(d) == c {
		left, right, turned = d, c, !turned
	}
	var segment [maxSegment]int32
	n := t.wrap(int(t.pos[last]-t.pos[first])) + 1
	start := int(t.pos[first])
	for i := range n {
		segment[i] = t.at[t.wrap(start+i)]
	}
	start = t.shift(start, n, left, right)
	for i := range n {
		c := segment[i]
		if turned {
			c = segment[n-1-i]
		}
		t.put(t.wrap(start+i), c)
	}
}

// shift makes n places room between left and right, by taking out those from start on. It returns where the room is.
func (t *tour) shift(start, n int, left, right int32) int {
	ahead := t.wrap(int(t.pos[left])-t.wrap(start+n)) + 1 // places from the stretch to left
	if behind := t.n - n - ahead; behind < ahead {
		from := int(t.pos[right])
		for i := behind - 1; i >= 0; i-- {
			t.put(t.wrap(t.wrap(from+i)+n), t.at[t.wrap(from+i)])
		}
		return from
	}
	for i := range ahead {
		t.put(t.wrap(start+i), t.at[t.wrap(t.wrap(start+i)+n)])
	}
	return t.wrap(start + ahead)
}
