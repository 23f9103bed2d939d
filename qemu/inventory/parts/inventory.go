package parts

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
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
	Networks int // back ends of networks, with those that QEMU has made by itself
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
		{"machine type", inv.readMachine}, {"disks", inv.ReadBlock}, {"devices", inv.readDevices}, {"objects", inv.readObjects},
		{"character devices", inv.readChardevs}, {"networks", inv.readNetdevs}, {"jobs", inv.readActivity},
	} {
		if err := part.read(ctx, m); err != nil {
			return nil, fmt.Errorf("inventory of %s: %w", part.what, err)
		}
	}
	for _, n := range inv.Nodes {
		if IsLocal(n.Driver) && filepath.IsAbs(n.File) {
			n.lookAt(filepath.Join(root, n.File))
		}
	}
	return inv, nil
}

// lookAt finds out about a node's file. It is missing if it is known not to be there, or not to be there any more.
func (n *Node) lookAt(path string) {
	info, err := os.Stat(path)
	n.Missing = errors.Is(err, fs.ErrNotExist)
	if err != nil || !info.Mode().IsRegular() {
		return
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok {
		n.Inode, n.Allocated = st.Ino, 512*st.Blocks
	}
}

// Written are the nodes of the regular files that devices may write to.
func (inv *Inventory) Written() []*Node {
	var all []*Node
	for _, d := range inv.Drives {
		d.Root.Find(func(n *Node) bool {
			if n.Inode != 0 && !n.ReadOnly && !slices.Contains(all, n) {
				all = append(all, n)
			}
			return false
		})
	}
	return all
}

// ReadBlock reads the disks alone.
func (inv *Inventory) ReadBlock(ctx context.Context, m Monitor) (err error) {
	if inv.Nodes, err = readNodes(ctx, m); err != nil {
		return err
	}
	inv.Drives, err = readDrives(ctx, m, inv.Nodes)
	return err
}

// Drive is the drive of a name, nil if there is none.
func (inv *Inventory) Drive(name string) *Drive {
	i := slices.IndexFunc(inv.Drives, func(d Drive) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &inv.Drives[i]
}

// GroupOf is the throttle group of a drive, "" if that is its own. QEMU gives such a group the name by which
// block_set_io_throttle has called the drive.
func (inv *Inventory) GroupOf(d *Drive) string {
	shared := slices.ContainsFunc(inv.Drives, func(o Drive) bool { return o.Group == d.Group && o.Device != d.Device })
	if !shared && (d.Group == d.Name || strings.Contains(d.Group, "/")) {
		return ""
	}
	return d.Group
}

// Object is the object with an id, nil if there is none.
func (inv *Inventory) Object(id string) *Object {
	i := slices.IndexFunc(inv.Objects, func(o Object) bool { return o.ID == id })
	if i < 0 {
		return nil
	}
	return &inv.Objects[i]
}
