package inventory

import (
	"context"

	"github.com/scatter-vm/scatter/qemu/inventory/parts"
	"github.com/scatter-vm/scatter/qemu/inventory/rewrite"
)

// This file has the names under which others know what sub-packages own.

// What a machine consists of.
type (
	Monitor   = parts.Monitor   // a QMP connection
	Inventory = parts.Inventory // all of it, at one moment
	Slot      = parts.Slot      // a place for a virtual processor
	Device    = parts.Device    // that an operator asked for
	Object    = parts.Object    // a back end of -object
	Chardev   = parts.Chardev   // a character device
	Netdev    = parts.Netdev    // the host's side of a network card
	Drive     = parts.Drive     // a block device of the guest
	Node      = parts.Node      // of blocks: a format, a filter or the access to a file
	Child     = parts.Child     // a node that another one uses
	Header    = parts.Header    // what an image says of its backing file
	Bitmap    = parts.Bitmap    // of dirty blocks
	Job       = parts.Job       // in the background
	Export    = parts.Export    // a disk that others reach through this machine
)

// Finding is why a machine cannot be moved as it is now.
type Finding = rewrite.Finding

// Read asks a machine's monitor, and looks for its files below root, which is /proc/PID/root.
func Read(ctx context.Context, m Monitor, root string) (*Inventory, error) {
	return parts.Read(ctx, m, root)
}

// Command makes the command line that starts a machine as the inventory has it, out of the one that it was started with. With findings
// that are no risks, the command line is not to be used.
func Command(inv *Inventory, argv []string) ([]string, []Finding) {
	return rewrite.Command(inv, argv)
}

// Expand puts the options of configuration files (-readconfig) in the place of their names, as the process of that pid sees them.
func Expand(argv []string, pid int) ([]string, error) { return rewrite.Expand(argv, pid) }

// Reopening is a disk that can be told to stand on another node than its file, and on that again.
type Reopening = rewrite.Reopening

// Reopen finds how to reopen a disk of a machine that was started with a command line.
func Reopen(inv *Inventory, argv []string, n *Node) (*Reopening, error) {
	return rewrite.Reopen(inv, argv, n)
}

// NameDrives gives the nodes of those of the drives names that have none, so that they can be reopened. It returns the command line with them.
func NameDrives(inv *Inventory, argv []string, drives map[string]bool) []string {
	return rewrite.NameDrives(inv, argv, drives)
}
