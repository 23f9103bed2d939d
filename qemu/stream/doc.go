// Package stream parses and writes the migration stream of QEMU 7.2 and later, and its return path.
//
// The stream is big-endian and, for the most part, not length-delimited: who wants to know where a section ends must
// know its kind. This package knows the sections that carry guest RAM and those that QEMU sends before the state of the
// devices. It refuses every other one by name with a [RefusedError], for guessing an end would lose the guest.
//
//	"QEVM" u32(3) [07 configuration]                                   KindHeader
//	{ 08 u16 command, u16 n, n bytes                                   KindCommand
//	| 01 u32 id, str8 name, u32 instance, u32 version, body, footer    KindSectionStart, body, KindFooter
//	| 02 u32 id, body, footer                                          KindSectionPart, body, KindFooter
//	| 03 u32 id, body, footer                                          KindSectionEnd, body, KindFooter
//	| 04 the early state of a virtio-mem device, footer                KindEarly
//	}
//	pre-copy:  { 04 device state } 00 06 u32 n, n bytes of JSON        KindTail, read with [Parser.Tail]
//	post-copy: 08 0007 0004 u32 n, n bytes of device state             KindCommand, KindPackage...
//	           { sections of RAM } 00                                  KindEnd
//
//	body of section "ram":           { [KindMemSize] | KindPage | KindZero } KindEOS
//	body of section "dirty-bitmap":  KindBlob, KindBlob...
//	footer:                          7e u32 id (machine types before 2.4 have none: KindFooter is then empty)
//
// A [Parser] reads one connection of a source QEMU. It reads ahead no further than its buffer, which keeps the queue
// behind QEMU short. What it returns is borrowed until the next call.
//
// A [Writer] makes a stream for a target QEMU. QEMU abbreviates "same RAM block as the record before" with a flag; since
// a writer may leave records out and put others in, it derives that flag anew and starts every section with a name. So
// sections of several writers may be put one after another in any order.
//
// Rules that QEMU's loader sets for the composer of a stream:
//
//  1. Before device state, pages may come in any order, any number of times, in any number of extra PART sections; the
//     last one wins. A page may be left out when the target is known to hold the same bytes.
//  2. All RAM must be in place before the first byte of the tail is handed over.
//  3. After POSTCOPY_LISTEN each page must be delivered exactly once.
//  4. With a return path the source waits, stopped, for SHUT: 0 ends it, anything else makes it run on.
//
// What a stream does not show cannot be refused: with the capabilities multifd and postcopy-preempt pages travel on
// other connections. The owner of the source must keep them off, and xbzrle, compress, mapped-ram, x-ignore-shared,
// background-snapshot and x-colo with them.
package stream
