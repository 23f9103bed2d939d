package rewrite

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/inventory/parts"
)

// Reopening is a disk whose format can be told to stand on another node than its file, and on that again: what blockdev-reopen and blockdev-add take
// (qapi/block-core.json, BlockdevOptions).
type Reopening struct {
	Node   string         // the format's
	Format map[string]any // all of its options but "file"
	File   map[string]any // those of the file's node, with its name if it has one
}

// Reopen finds how to reopen a disk of a machine that was started with a command line. blockdev-reopen forgets options that are not said again, and QEMU
// tells not all of them, so they are taken from there.
func Reopen(inv *parts.Inventory, argv []string, n *parts.Node) (*Reopening, error) {
	file := n.Child("file")
	switch {
	case !n.Named():
		return nil, errors.New("its node has no name (node-name=)")
	case !formatDrivers[n.Driver] || len(n.Children) != 1 || file == nil || file.Driver != "file":
		return nil, fmt.Errorf("node %s is not a format over a file", n.Name)
	case len(argv) == 0:
		return nil, errors.New("its command line is not known")
	}
	r := &rewriting{inv: inv}
	for _, a := range cmdline.Arguments(argv[1:]) {
		r.add(parseOption(a))
	}
	format := r.defining(n.Name)
	if format == nil {
		return nil, fmt.Errorf("no option makes node %s", n.Name)
	}
	below, nested := format["file"].(map[string]any)
	if named := r.defining(file.Name); file.Named() && named != nil {
		below, nested = named, false
	}
	out := &Reopening{Node: n.Name, Format: r.describe(n, format, n.Name, true), File: r.describe(file, below, n.Name, true)}
	delete(out.Format, "file")
	if nested || below == nil { // what lies below a format may always be unmapped (block.c, bdrv_inherited_options)
		if _, said := out.File["discard"]; !said {
			out.File["discard"] = "unmap"
		}
	}
	typed(out.Format)
	typed(out.File)
	return out, nil
}

// defining is the tree of what makes the node of a name; nil: nothing on the command line does. A -drive is taken apart into a format and a file.
func (r *rewriting) defining(name string) map[string]any {
	for _, o := range r.all("blockdev") {
		if found := within(o.nested(), name); found != nil {
			return found
		}
	}
	for _, o := range r.options {
		if d := asDrive(o); d != nil && name != "" && d.get("node-name") == name {
			return driveTree(d)
		}
	}
	return nil
}

func within(tree map[string]any, name string) map[string]any {
	if plainText(tree["node-name"]) == name {
		return tree
	}
	for _, v := range tree {
		if sub, ok := v.(map[string]any); ok {
			if found := within(sub, name); found != nil {
				return found
			}
		}
	}
	return nil
}

// driveTree is what a -drive says of its nodes and QEMU does not tell.
func driveTree(o *option) map[string]any {
	tree := map[string]any{"driver": o.first("format", "driver")}
	if v := o.get("discard"); v != "" {
		tree["discard"] = v
	}
	file := map[string]any{"driver": "file"}
	if sub, ok := o.nested()["file"].(map[string]any); ok {
		file = sub
	}
	if v := o.get("aio"); v != "" {
		file["aio"] = v
	}
	tree["file"] = file
	return tree
}

// NameDrives gives the nodes of those of the drives names that have none, so that they can be reopened. It returns the command line with them.
func NameDrives(inv *parts.Inventory, argv []string, drives map[string]bool) []string {
	if len(argv) == 0 || len(drives) == 0 {
		return argv
	}
	slots := newSlots(inv.Machine)
	out, n := []string{argv[0]}, 0
	for _, a := range cmdline.Arguments(argv[1:]) {
		o := parseOption(a)
		if d := asDrive(o); d != nil {
			if name := slots.name(d); drives[name] && d.get("node-name") == "" {
				for inv.Nodes[diskNode(n)] != nil {
					n++
				}
				d.set("node-name", diskNode(n))
				o = d
				n++
			}
		}
		out = append(out, o.words()...)
	}
	return out
}

// diskNode is a name for the node of a drive that has none.
func diskNode(n int) string { return "scatter-disk" + strconv.Itoa(n) }

// switches and numbers are the keys of nodes whose values are no text; on a command line all are.
var (
	switches = wordSet("read-only auto-read-only force-share direct no-flush drop-cache lazy-refcounts pass-discard-request pass-discard-snapshot pass-discard-other discard-no-unref")
	numbers  = wordSet("offset size l2-cache-size l2-cache-entry-size refcount-cache-size cache-size cache-clean-interval aio-max-batch")
)

// typed gives the leaves of a tree that came from text the types that a monitor wants.
func typed(tree map[string]any) {
	for k, v := range tree {
		switch v := v.(type) {
		case map[string]any:
			typed(v)
		case string:
			if n, err := strconv.ParseInt(v, 10, 64); numbers[k] && err == nil {
				tree[k] = n
			} else if switches[k] && (v == "on" || v == "off") {
				tree[k] = v == "on"
			}
		}
	}
}
