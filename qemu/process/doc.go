// Package process starts programs that outlive us with nothing of ours, and tells what the kernel knows of processes.
//
//	Start        starts a program in a session and, under systemd, a scope of its own
//	Tail, LogTail, Limited   are what can be kept of the words of a program
//	StartTime, CommandLine   tell processes apart
package process
