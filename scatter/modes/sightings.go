package modes

// What a third look can tell.
const (
	mostSet = 5   // bounds the pages that a VM is believed to go on to write, as a multiple of those that it was seen to write
	enough  = 30  // changed pages, or they tell nothing
	inOrder = 0.8 // of the pages after one that has changed have, too, or the VM does not write them in their order
)

// Sightings counts the watched pages of a VM: those that had changed between the first two looks, since then, in both times, and those that lie behind one
// that had changed at first, of which some had, too.
type Sightings struct{ first, later, both, after, follow float64 }

// Add counts a page that has changed or not, at first and later; behind: the one before it had at first.
func (s *Sightings) Add(first, later, behind bool) {
	if behind {
		s.after++
	}
	if behind && first {
		s.follow++
	}
	if first {
		s.first++
	}
	if later {
		s.later++
	}
	if first && later {
		s.both++
	}
}

// Set is how many pages the VM goes on to write, of which the first two looks have found so many; 0: not known. What part of the pages that it writes now
// had been written before is the part of all that these have found (capture and recapture: Petersen 1896, Lincoln 1930). Not so where it writes its
// pages in their order: then, once it writes some again, it has come to the end of them, and they are all that was seen.
func (s *Sightings) Set(hot float64) float64 {
	switch {
	case s.later < enough || s.both == 0:
		return 0
	case s.follow >= inOrder*s.after:
		return hot * (s.first + s.later - s.both) / s.first
	}
	return hot * min(mostSet, max(1, s.later/s.both))
}
