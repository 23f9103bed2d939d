package inventory

import (
	"context"
	"fmt"
	"os"
)

// Monitor is a QMP connection. *qemu.Client is one.
type Monitor interface {
	Do(ctx context.Context, command string, arguments, result any, files ...*os.File) error
}

// Inventory is what a machine consists of at one moment.
type Inventory struct {
	Machine string // type with its version: pc-q35-10.0
	Nodes   map[string]*Node
	Drives  []Drive
}

// Read asks a machine's monitor. The machine may run meanwhile; what changes during Read may be half in the answer.
func Read(ctx context.Context, m Monitor) (*Inventory, error) {
	inv := &Inventory{}
	for _, part := range []struct {
		what string
		read func(context.Context, Monitor) error
	}{
		{"machine type", inv.readMachine}, {"disks", inv.readBlock},
	} {
		if err := part.read(ctx, m); err != nil {
			return nil, fmt.Errorf("inventory of %s: %w", part.what, err)
		}
	}
	return inv, nil
}

func (inv *Inventory) readBlock(ctx context.Context, m Monitor) (err error) {
	if inv.Nodes, err = readNodes(ctx, m); err != nil {
		return err
	}
	inv.Drives, err = readDrives(ctx, m, inv.Nodes)
	return err
}
