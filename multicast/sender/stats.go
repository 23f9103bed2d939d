package sender

// Stats is what a source has done so far. Bytes are as on the wire, with Ethernet, IP and UDP headers; Multicast,
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

// TargetStats is what a source knows of a target.
type TargetStats struct {
	Loss     float64 // share of datagrams that do not arrive, recently
	Overflow uint64  // datagrams that the target's kernel dropped for want of socket buffer
	Joins    uint64  // how often it has joined a group, as far as it has told
	Leaves   uint64  // how often it has left one
	// Fallbacks is in how many channels it got blocks by unicast because the group did not serve it.
	Fallbacks uint64
	Ejected   bool
}
