// Package monitor speaks QMP with one QEMU: the connection and its events, and the commands by subject.
//
//	Conn        commands with contexts, events per subscriber, files, out-of-band commands
//	RunControl  starts, stops and ends the VM
//	Migration   begins, steers and cancels a migration, and prepares the target of one
//	Processor   tells what the guest sees of its processor
//
// QEMU serves one client per monitor: close the Conn.
package monitor
