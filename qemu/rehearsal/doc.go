// Package rehearsal changes the command line of a VM so that a QEMU which is only tried takes nothing that the VM itself is going to have,
// and notes what that is: its claims.
package rehearsal
