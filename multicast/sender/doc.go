// Package sender is the source's side of the multicast protocol. State knows no sockets, clocks or goroutines: whoever drives it passes in
// the time and the targets' messages, calls Tick every few milliseconds, sends what Next gives, and acts on what TakeEvents tells.
//
// State is put together from values that own one thing each:
//
//	roster      the targets, and what each has told
//	keys        the epochs of the datagrams' key: locks out who is ejected
//	channels    what is open: an Outbound has members, streams and a backlog
//	membership  who is in which channel, and who leaves
//	paths       by which stream a member is reached: its channel's group, or its unicast address
//	backlog     the blocks of one channel that members lack, within the window
//	schedule    marks, probes, repair, blocks that go ahead and new ones in the order of sending, sealed in bursts
//	feedback    what targets say, and what follows from it
//	rates       how fast: the link, the streams, the reports; who is too slow for a group
//	outbox      what is to be done, or told
package sender

import "github.com/scatter-vm/scatter/multicast/clock"

type instant = clock.Instant

const never = clock.Never
