package sender

import "github.com/scatter-vm/scatter/multicast/wire"

// EventKind is what the state wants done, or tells.
type EventKind uint8

const (
	Control     EventKind = iota // Message to Target
	Confirmed                    // Block of Channel
	Unreachable                  // Target has been ejected, for Err
	FellBack                     // Target in Channel goes on by unicast, for Err
	Left                         // Target is no longer a member of Channel, for Err
	Apart                        // Target gets datagrams only one by one
)

// Event is what the state wants done, or tells.
type Event struct {
	Kind    EventKind
	Target  string
	Message []byte
	Channel wire.ChannelID
	Block   uint64
	Err     error
	Lacks   []uint64 // Left: blocks below Block that the target has not placed; it gets none from Block on
}

// outbox keeps events until somebody acts on them.
type outbox struct{ events []Event }

func (o *outbox) emit(e Event) { o.events = append(o.events, e) }

// tell sends a target a message.
func (o *outbox) tell(t *target, message []byte) {
	o.emit(Event{Kind: Control, Target: t.name, Message: message})
}

// take hands the events over; the slice is the caller's.
func (o *outbox) take() []Event {
	e := o.events
	o.events = nil
	return e
}
