// Package receiver is the target's side of the multicast protocol. State knows no sockets, clocks or goroutines: whoever drives it passes in
// datagrams, messages of the source and the time, takes what it wants done from TakeEvents, and calls ReportNow when a report is Due.
//
//	datagrams --> keyring: is it authentic? --> Channel: which block, which path --> coding.Assembly --> Deliver
//	messages of the source --> channels, keys                           |
//	                                                                    +--> reports --> source
package receiver
