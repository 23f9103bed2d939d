// Package inventory owns what a running virtual machine consists of now: its disks with all that is behind them, media,
// devices, back ends, processors and memory, as its monitor tells.
//
//	Read      asks a monitor
//	Command   makes the command line of a QEMU that is this machine, out of the one that QEMU was started with; what
//	          cannot be expressed, or must not be interrupted, is a Finding
//	LimitsOf  are the limits of disks that a command line cannot say
//	Outline   is the short list that the two ends of a migration compare
//
// A command line says what a machine was when it began. Snapshots, block jobs, media and plugged devices change it
// behind its back.
package inventory
