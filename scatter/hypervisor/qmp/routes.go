package qmp

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/inventory"
	"github.com/scatter-vm/scatter/scatter/handover"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
)

// Names of nodes that LeadPast and LeadBack add.
const (
	lazyNode = "scatter-lazy-" // that of the server
	fileNode = "scatter-file-" // that of an image that had no name
)

// reconnectDelay is how long QEMU has a disk's requests wait for a server that is away, in seconds: the longest that it takes (qapi/block-core.json,
// BlockdevOptionsNbd, uint32), for an error would be the guest's.
const reconnectDelay = 1<<32 - 1

// FindRoutes finds how to lead disks past their images.
func (t *Target) FindRoutes(ctx context.Context, inodes []uint64) ([]handover.Route, error) {
	inv, err := inventory.Read(ctx, t.Client, fmt.Sprintf("/proc/%d/root", t.PID()))
	if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", t.PID()))
	if err != nil {
		return nil, err
	}
	argv := strings.Split(strings.TrimSuffix(string(text), "\x00"), "\x00")
	if err := movesRoot(argv); err != nil {
		return nil, err
	}
	var routes []handover.Route
	for i, inode := range inodes {
		root := standsOn(inv, inode)
		if root == nil {
			return nil, fmt.Errorf("no disk stands on inode %d alone", inode)
		}
		r, err := inventory.Reopen(inv, argv, root)
		if err != nil {
			return nil, err
		}
		if r.File["node-name"] == nil {
			r.File["node-name"] = freeName(inv, fileNode, i)
		}
		format, err := json.Marshal(r.Format)
		if err != nil {
			return nil, err
		}
		file, err := json.Marshal(r.File)
		if err != nil {
			return nil, err
		}
		routes = append(routes, handover.Route{Node: r.Node, Format: format, File: file})
	}
	return routes, nil
}

// movesRoot refuses a QEMU that may not reach a socket of ours by its name.
func movesRoot(argv []string) error {
	for _, a := range cmdline.Arguments(argv[1:]) {
		moves := a.Name == "runas" || a.Name == "chroot" || a.Name == "run-with" && (strings.Contains(a.Value, "user=") || strings.Contains(a.Value, "chroot="))
		if moves {
			return fmt.Errorf("with -%s %s it may not reach a server on this host", a.Name, a.Value)
		}
	}
	return nil
}

// standsOn is the node on which a disk of the guest stands whose image has an inode; nil: there is none.
func standsOn(inv *inventory.Inventory, inode uint64) *inventory.Node {
	for _, d := range inv.Drives {
		if d.Root == nil || d.Device == "" {
			continue
		}
		if file := d.Root.Child("file"); file != nil && file.Inode == inode {
			return d.Root
		}
	}
	return nil
}

// freeName is a name that no node has.
func freeName(inv *inventory.Inventory, prefix string, n int) string {
	for {
		if name := fmt.Sprint(prefix, n); inv.Nodes[name] == nil {
			return name
		}
		n++
	}
}

// LeadPast has disks go by a server.
func (t *Target) LeadPast(ctx context.Context, routes []handover.Route, socket string) error {
	inv, err := t.nodes(ctx)
	if err != nil {
		return err
	}
	for i, r := range routes {
		node := fmt.Sprint(lazyNode, i)
		there := func(n *inventory.Node) bool { return n.Name == node }
		err := t.lead(ctx, inv, r, there, node, map[string]any{"driver": "nbd", "node-name": node, "server": map[string]string{"type": "unix", "path": socket},
			"export": hypervisor.DiskName(i), "reconnect-delay": reconnectDelay})
		if err != nil {
			return err
		}
	}
	return nil
}

// LeadBack has them go by their images.
func (t *Target) LeadBack(ctx context.Context, routes []handover.Route) error {
	inv, err := t.nodes(ctx)
	if err != nil {
		return err
	}
	for _, r := range routes {
		var file map[string]any
		if err := json.Unmarshal(r.File, &file); err != nil {
			return fmt.Errorf("node %s: %w", r.Node, err)
		}
		node, _ := file["node-name"].(string)
		there := func(n *inventory.Node) bool { return n.Driver != "nbd" }
		if err := t.lead(ctx, inv, r, there, node, file); err != nil {
			return err
		}
	}
	return nil
}

// nodes reads the block nodes alone, for the VM may stand still.
func (t *Target) nodes(ctx context.Context) (*inventory.Inventory, error) {
	inv := &inventory.Inventory{}
	return inv, inv.ReadBlock(ctx, t.Client)
}

// lead has a disk stand on a node, which is added unless it is there, and removes the one that it has stood on, unless there says that it stands where it should.
func (t *Target) lead(ctx context.Context, inv *inventory.Inventory, r handover.Route, there func(*inventory.Node) bool, on string, add map[string]any) error {
	var before *inventory.Node
	if n := inv.Nodes[r.Node]; n != nil {
		before = n.Child("file")
	}
	if before == nil {
		return fmt.Errorf("node %s: stands on nothing", r.Node)
	}
	if there(before) {
		return nil
	}
	var options map[string]any
	if err := json.Unmarshal(r.Format, &options); err != nil {
		return fmt.Errorf("node %s: %w", r.Node, err)
	}
	if inv.Nodes[on] == nil {
		if err := t.Do(ctx, "blockdev-add", add, nil); err != nil {
			return fmt.Errorf("node %s: %w", r.Node, err)
		}
	}
	options["file"] = on
	if err := t.Do(ctx, "blockdev-reopen", map[string]any{"options": []any{options}}, nil); err != nil {
		return fmt.Errorf("node %s: %w", r.Node, err)
	}
	if !before.Named() {
		return nil // it has gone with its last user
	}
	if err := t.Do(ctx, "blockdev-del", map[string]string{"node-name": before.Name}, nil); err != nil {
		return fmt.Errorf("node %s: %w", before.Name, err)
	}
	return nil
}
