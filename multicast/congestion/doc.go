// Package congestion finds the rates that paths carry. It knows paths only by what targets report of them.
//
//	datagrams sent --Trail--+
//	                        +--View--> Sample --> Pace   the rate of one path
//	reports ----------------+             +-----> Link   that of the source's link, by the samples of all targets
//
// A Trail remembers when datagrams were sent, so that a View can tell from a report how many were lost and how long they were on their
// way. A Pace considers a Sample of that every Interval. Nothing here knows a clock: time is passed in.
package congestion

import "github.com/scatter-vm/scatter/multicast/clock"

type instant = clock.Instant
