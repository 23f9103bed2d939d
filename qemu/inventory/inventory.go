package inventory

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// Monitor is a QMP connection. *qemu.Client is one.
type Monitor interface {
	Do(ctx context.Context, command string, arguments, result any, files ...*os.File) error
}

// Inventory is what a machine consists of at one moment.
type Inventory struct {
	Machine  string // type with its version: pc-q35-10.0
	KVM      bool
	RAM      string // object of the machine's own memory
	Slots    []Slot
	Nodes    map[string]*Node
	Drives   []Drive
	Devices  []Device // each after the one whose bus it is on
	Objects  []Object
	Chardevs []Chardev
	Netdevs  []Netdev
	activity
}

// Read asks a machine's monitor, and looks for its files below root, which is /proc/PID/root. The machine may run
// meanwhile; what changes during Read may be half in the answer.
func Read(ctx context.Context, m Monitor, root string) (*Inventory, error) {
	inv := &Inventory{}
	for _, part := range []struct {
		what string
		read func(context.Context, Monitor) error
	}{
		{"machine type", inv.readMachine}, {"disks", inv.readBlock}, {"devices", inv.readDevices}, {"objects", inv.readObjects},
		{"character devices", inv.readChardevs}, {"networks", inv.readNetdevs}, {"jobs", inv.readActivity},
	} {
		if err := part.read(ctx, m); err != nil {
			return nil, fmt.Errorf("inventory of %s: %w", part.what, err)
		}
	}
	for _, n := range inv.Nodes {
		n.Missing = localDrivers[n.Driver] && isMissing(root, n.File)
	}
	return inv, nil
}

// isMissing tells whether a file is known not to be there, or not to be there any more.
func isMissing(root, name string) bool {
	if !filepath.IsAbs(name) {
		return false
	}
	_, err := os.Stat(filepath.Join(root, name))
	return errors.Is(err, fs.ErrNotExist)
}

func (inv *Inventory) readBlock(ctx context.Context, m Monitor) (err error) {
	if inv.Nodes, err = readNodes(ctx, m); err != nil {
		return err
	}
	inv.Drives, err = readDrives(ctx, m, inv.Nodes)
	return err
}
