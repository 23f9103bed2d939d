package multicast

// Stats is what a Sender has done so far. Bytes are as on the wire, with Ethernet, IP and UDP headers; Multicast,
// Unicast, Repair and Probe together are all that was sent as datagrams.
type Stats struct {
	Blocks      uint64 // blocks taken over
	Payload     uint64 // bytes of their payloads
	Unconfirmed int    // bytes of blocks waiting for confirmation, as counted by Window

	Multicast uint64 // bytes of first symbols to groups
	Unicast   uint64 // bytes of first symbols to single targets
	Repair    uint64 // bytes of further symbols, to either
	Probe     uint64 // bytes of probes and marks
	Datagrams uint64

	Keys       uint64 // changes of the key, after targets were ejected
	Joins      uint64 // how often targets have joined a group, as far as they have told
	Leaves     uint64 // how often they have left one
	Fallbacks  uint64 // members of a group that multicast did not reach
	SendErrors uint64 // bursts that the kernel refused

	Targets map[string]TargetStats
}

// TargetStats is what a Sender knows of a target.
type TargetStats struct {
	Loss     float64 // share of datagrams that do not arrive, recently
	Overflow uint64  // datagrams that the target's kernel dropped for want of socket buffer
	Joins    uint64  // how often it has joined a group, as far as it has told
	Leaves   uint64  // how often it has left one
	// Fallbacks is in how many channels it got blocks by unicast because the group did not serve it.
	Fallbacks uint64
	Ejected   bool
}

// ReceiverStats is what a Receiver has seen so far, in datagrams but for Blocks.
type ReceiverStats struct {
	Blocks    uint64 // delivered
	Bytes     uint64 // of their payloads
	Accepted  uint64 // authentic, first of their sequence
	Duplicate uint64 // of them: symbols that were not needed
	Forged    uint64 // not authentic, or malformed
	Replayed  uint64 // sequence seen before
	Stray     uint64 // of another evacuation, of an unknown key or channel
	Overrun   uint64 // beyond the window
	Overflow  uint64 // dropped by the kernel for want of socket buffer
	Held      int    // bytes of blocks held now, as counted by Window
	Sockets   int    // open now: for groups, of which there are MaxSockets at most, and one for unicast
}
