package receiver

// Stats is what a target has seen so far, in datagrams but for Blocks.
type Stats struct {
	Blocks    uint64 // delivered
	Bytes     uint64 // of their payloads
	Accepted  uint64 // authentic, first of their sequence
	Duplicate uint64 // of them: symbols that were not needed
	Forged    uint64 // not authentic, or malformed
	Replayed  uint64 // sequence seen before
	Stray     uint64 // of another evacuation, of an unknown key or channel
	Overrun   uint64 // beyond the window
	Overflow  uint64 // dropped by the kernel for want of socket buffer; of the sockets
	Held      int    // bytes of blocks held now, as counted by Window
	Sockets   int    // open now: for groups, of which there are few, and one for unicast
}
