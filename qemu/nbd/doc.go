// Package nbd serves disks over the Network Block Device protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md), as much of it as QEMU and the
// tools of libnbd ask for: the fixed newstyle handshake, simple and structured replies, zeroes, holes and what is allocated. It knows nothing of
// what the disks are. A Client reads and writes what such servers export, QEMU's among them.
//
// The other end may say anything: every length is bounded before memory is allocated, and what breaks the protocol ends the connection.
package nbd
