// Package qemu owns one virtual machine on this host: its monitor, its memory and its process.
//
//	Client    speaks QMP: commands with contexts, events per subscriber, files, out-of-band commands
//	Discover  tells from a QMP socket which process, memory and machine stand behind it
//	Memory    reads and writes the guest's RAM from outside, without QEMU's help
//	Migrate…  the migration commands, as methods of Client
//	LaunchPolicy, Launch   start a QEMU that waits for an incoming migration
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
