package receiver

import "github.com/scatter-vm/scatter/multicast/coding"

// EventKind is what the state wants done.
type EventKind uint8

const (
	Reply   EventKind = iota // Message to the source
	Join                     // the group of Channel
	Leave                    // the group of Channel
	Deliver                  // Block is complete
)

// Event is what the state wants done.
type Event struct {
	Kind      EventKind
	Message   []byte
	Channel   *Channel
	AnySource bool // Join: without naming the source
	Again     bool // Leave: a Join follows
	Number    uint32
	Block     *coding.Assembly
}
