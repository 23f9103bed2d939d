// Package qemu owns one virtual machine on this host: its monitor, its memory and its process.
//
//	Client, Discover       ask a running QEMU, and tell which process, memory and machine stand behind its QMP socket
//	LaunchPolicy, Launch   start a QEMU that waits for an incoming migration
//	Memory                 reads and writes the guest's RAM from outside, without QEMU's help
//
// Its sub-packages know little of each other; this one composes them. aliases.go has their names for those who use a VM as a whole.
//
// Duties of the caller:
//
//  1. QEMU serves one client per monitor. Close the Client that Discover or Launch returned.
//  2. While the VM runs, what Memory reads is a hint. QEMU's migration stream is the truth.
//  3. Memory is written only while the VM is paused, and, with post-copy, only between ADVISE and LISTEN.
//  4. A Process of Launch outlives this program; until then Kill or Wait ends it.
//  5. LaunchPolicy judges a command line. It cannot judge what is inside a disk image (backing files)
//     nor a directory that strangers can write to: keep such directories out of AllowPaths.
package qemu
