package bounds

// Tally counts for each source.
type Tally map[string]int

// Add counts n more.
func (t Tally) Add(source string, n int) { t[source] += n }

// Limit is what was counted, of which an evacuation may hold so much.
func (t Tally) Limit(resource string, each int) Limit {
	l := Limit{Resource: resource, Most: MaxSessions * each, MostPeer: MaxOfSource * each}
	for _, n := range t {
		l.Held += n
		l.Peer = max(l.Peer, n)
	}
	return l
}
