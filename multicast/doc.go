// Package multicast delivers blocks (opaque payloads of up to MaxBlock bytes) from one source to sets of targets, each
// block to every target of its channel, or says which target cannot be reached.
//
// A Channel is a target set with a multicast group. Blocks are cut into symbols of one datagram each; a target can
// restore a block from any k distinct symbols of a stripe, source or parity, so one parity datagram repairs different
// losses at different targets and the cost of loss follows the worst target, not the number of them. Targets report
// over the ordered control path that the engine already keeps to each of them, so feedback needs no multicast.
//
//	engine ---Send---> Sender ==datagrams, group or unicast==> Receiver ---Deliver---> engine
//	                     ^  \------announce, key, close------->  /
//	                     \-------answers, reports (control)-----/
//
// What the caller must do:
//
//  1. Give both sides the same fresh Key and Evacuation, and pass every message that Control is called with to
//     HandleControl of the other side: reliably, in order, on an authenticated and secret path.
//  2. AddTarget with the address that the target's Receiver.UnicastAddr gave, then Open channels, Send, Flush, CloseChannel.
//  3. Call Eject when a target is lost. Blocks wait for live targets only.
//  4. Leave a payload unchanged from Send until Confirmed (or CloseChannel or Close): it is not copied.
//
// Nothing is sent to a group before every member has answered a probe that came through it. A member that the group
// does not reach, at first or later, gets the same blocks by unicast datagrams; one that neither reaches is ejected.
//
// The protocol lives in sender.State and receiver.State, which know no sockets, clocks or goroutines: time is passed in, and
// what they want done is read from them. Sender and Receiver drive them. How rates are found is in package congestion, how
// blocks become symbols and blocks again in coding. The bytes are described in package wire, the erasure code in fec, the
// protection of datagrams in seal, the sockets in udp.
package multicast
