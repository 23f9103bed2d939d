package inventory

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// The drivers of nodes that can be described by what QEMU tells of them.
var (
	localDrivers  = set("file host_device host_cdrom")
	formatDrivers = set("raw qcow2 qed vmdk vdi vhdx vpc")
	filterDrivers = set("copy-on-read throttle preallocate")
	structure     = set("driver node-name filename file backing data-file read-only auto-read-only cache detect-zeroes")
)

func set(words string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(words) {
		all[w] = true
	}
	return all
}

// nodes gives devices the nodes that they have now, and these nodes a -blockdev each.
func (b *builder) nodes() {
	g := &graph{b: b, options: map[string]*option{}, done: map[string]bool{}}
	for _, o := range b.all("blockdev") {
		g.own(o, o.nested())
	}
	at := len(b.options)
	if first := b.all("blockdev"); len(first) > 0 {
		at = slices.Index(b.options, first[0])
	}
	roots := b.roots()
	for _, r := range roots {
		g.define(r.node, r.of)
	}
	g.spare()
	b.missing()
	b.options = slices.DeleteFunc(b.options, func(o *option) bool { return o.Name == "blockdev" })
	b.options = slices.Insert(b.options, min(at, len(b.options)), g.out...)
}

// root is a node on which a device stands, by name.
type root struct {
	node *Node
	of   string // the device, for people
}

// roots lists the nodes that devices use by name, and gives each device the one that it has now.
func (b *builder) roots() []root {
	var all []root
	for i := range b.inv.Drives {
		d := &b.inv.Drives[i]
		if d.Name != "" {
			continue
		}
		if d.Root != nil {
			b.name(d.Root)
			all = append(all, root{d.Root, d.String()})
		}
		b.attach(d)
	}
	return all
}

// missing refuses disks whose files are not there any more: QEMU has them open, the target cannot.
func (b *builder) missing() {
	for i := range b.inv.Drives {
		d := &b.inv.Drives[i]
		if n := d.Root.find((*Node).isMissing); n != nil {
			b.refuse(fmt.Sprintf("disk %s: file %s is gone", d, n.File), "copy the disk to a new file (blockdev-mirror), or eject the medium")
		}
	}
}

// name gives a node a name if it has none, so that a device can be told to use it.
func (b *builder) name(n *Node) {
	for !n.Named() {
		name := fmt.Sprintf("scatter%d", b.names)
		b.names++
		if b.inv.Nodes[name] == nil {
			n.Name = name
		}
	}
}

// attach makes the option that made a device use the node that it has now.
func (b *builder) attach(d *Drive) {
	set := func(o *option, key string) {
		switch {
		case d.Root == nil:
			o.drop(key)
		case o.get(key) != d.Root.Name:
			o.set(key, d.Root.Name)
		}
	}
	if n, ok := strings.CutPrefix(d.Device, "/machine/system.flash"); ok {
		for _, o := range b.all("machine", "M") {
			if o.has("pflash" + n) {
				set(o, "pflash"+n)
			}
		}
		return
	}
	if o := b.device(d.Device); o != nil && (d.Root != nil || o.has("drive")) {
		set(o, "drive")
	}
}

// graph defines nodes in an order in which each comes after those that it uses.
type graph struct {
	b       *builder
	options map[string]*option // that define a node, itself or nested
	done    map[string]bool
	out     []*option
}

// own notes the nodes that an option defines.
func (g *graph) own(o *option, tree map[string]any) {
	if name := plainText(tree["node-name"]); name != "" {
		g.options[name] = o
	}
	for _, role := range []string{"file", "backing", "data-file"} {
		if sub, ok := tree[role].(map[string]any); ok {
			g.own(o, sub)
		}
	}
}

// define sees that a named node is defined, once.
func (g *graph) define(n *Node, of string) {
	if g.done[n.Name] {
		return
	}
	o := g.options[n.Name]
	if o != nil && o.get("node-name") != n.Name { // nested in another one
		if top := g.b.inv.Nodes[o.get("node-name")]; top != nil && matches(o.nested(), top, false) {
			g.define(top, of)
			if g.done[n.Name] {
				return
			}
		}
		o = nil
	}
	g.done[n.Name] = true
	if o != nil && matches(o.nested(), n, false) {
		g.keep(o, n, of)
		return
	}
	var old map[string]any
	if o != nil {
		old = o.nested()
	}
	tree := g.b.describe(n, old, of, true)
	tree["node-name"] = n.Name
	for _, c := range n.Children {
		if name, ok := tree[c.Role].(string); ok && name == c.Node.Name {
			g.define(c.Node, of)
		}
	}
	g.out = append(g.out, newOption("blockdev", tree))
}

// keep takes an option over as it is, after those that it refers to.
func (g *graph) keep(o *option, n *Node, of string) {
	var walk func(tree map[string]any, n *Node)
	walk = func(tree map[string]any, n *Node) {
		for _, c := range n.Children {
			switch sub := tree[c.Role].(type) {
			case string:
				g.define(c.Node, of)
			case map[string]any:
				if c.Node.Named() {
					g.done[c.Node.Name] = true
				}
				walk(sub, c.Node)
			}
		}
	}
	walk(o.nested(), n)
	g.out = append(g.out, o)
}

// spare keeps the nodes of the command line that no device uses, as long as they are there and as they were. Those that can be written
// to stay behind: QEMU locks their files until it ends, so that the target's could not go on while the source's is there.
func (g *graph) spare() {
	for _, o := range g.b.all("blockdev") {
		name := o.get("node-name")
		if n := g.b.inv.Nodes[name]; n != nil && !g.done[name] && n.ReadOnly && n.find((*Node).isMissing) == nil && matches(o.nested(), n, false) {
			g.define(n, "without device")
		}
	}
}

// matches tells whether an option's tree defines the node as it is now. Of a drive, the outermost keys are not only
// the node's.
func matches(tree map[string]any, n *Node, drive bool) bool {
	if d := plainText(tree["driver"]); d != n.Driver && (d != "" || !drive) {
		return false
	}
	if localDrivers[n.Driver] && strings.TrimPrefix(plainText(tree["filename"]), "file:") != n.File {
		return false
	}
	if name := plainText(tree["node-name"]); name != "" && name != n.Name {
		return false
	}
	if !drive && !sameFlags(tree, n) {
		return false
	}
	for _, role := range []string{"file", "backing", "data-file"} {
		if !matchesChild(tree, role, n) {
			return false
		}
	}
	return true
}

func matchesChild(tree map[string]any, role string, n *Node) bool {
	child := n.Child(role)
	v, said := tree[role]
	switch v := v.(type) {
	case map[string]any:
		return child != nil && matches(v, child, false)
	case string:
		if v == "" {
			return child == nil
		}
		return child != nil && child.Name == v
	}
	switch {
	case said: // null
		return child == nil
	case role == "backing":
		return n.byName() && n.Child("backing").find(func(n *Node) bool { return n.Named() }) == nil
	}
	return child == nil || role == "data-file"
}

// sameFlags compares how a node is opened. What a tree does not say, a nested node has from above.
func sameFlags(tree map[string]any, n *Node) bool {
	if r := plainText(tree["read-only"]); plainText(tree["auto-read-only"]) != "on" && plainText(tree["node-name"]) != "" && (r == "on") != n.ReadOnly {
		return false
	}
	if z := plainText(tree["detect-zeroes"]); n.DetectZeroes != "" && z != n.DetectZeroes && (z != "" || n.DetectZeroes != "off") {
		return false
	}
	for key, is := range map[string]bool{"cache.direct": n.Direct, "cache.no-flush": n.NoFlush} {
		if v, said := lookup(tree, key); said && (plainText(v) == "on") != is {
			return false
		}
	}
	return true
}

// describe makes the tree of options that opens a node as it is now. Of an older tree of the same driver it takes what
// QEMU does not tell. Children with names are referred to, if that is wanted, else nested.
func (b *builder) describe(n *Node, old map[string]any, of string, refer bool) map[string]any {
	tree := b.strong(n, of)
	if plainText(old["driver"]) == n.Driver {
		for k, v := range old {
			if !structure[k] {
				tree[k] = v
			}
		}
	}
	tree["driver"] = n.Driver
	if n.Named() {
		tree["node-name"] = n.Name
	}
	if n.DetectZeroes != "" && n.DetectZeroes != "off" {
		tree["detect-zeroes"] = n.DetectZeroes
	}
	if n.Direct || n.NoFlush {
		tree["cache"] = map[string]any{"direct": n.Direct, "no-flush": n.NoFlush}
	}
	switch {
	case localDrivers[n.Driver]:
		tree["filename"] = n.File
		tree["auto-read-only"] = true
	case n.ReadOnly:
		tree["read-only"] = true
	}
	for _, c := range n.Children {
		sub, _ := old[c.Role].(map[string]any)
		switch {
		case c.Role == "backing" && n.byName() && c.Node.find((*Node).Named) == nil:
		case refer && c.Node.Named():
			tree[c.Role] = c.Node.Name
		default:
			tree[c.Role] = b.describe(c.Node, sub, of, refer)
		}
	}
	if n.Header.Backing != "" && n.Child("backing") == nil {
		tree["backing"] = nil
	}
	return tree
}

// strong is what a node's name in JSON says beyond its driver and children, and the refusal of nodes that cannot be
// described.
func (b *builder) strong(n *Node, of string) map[string]any {
	tree := map[string]any{}
	if text, ok := strings.CutPrefix(n.File, "json:"); ok && !localDrivers[n.Driver] {
		var all map[string]any
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if d.Decode(&all) == nil && plainText(all["driver"]) == n.Driver {
			maps.DeleteFunc(all, func(k string, _ any) bool { return structure[k] })
			tree = all
		}
	}
	switch {
	case n.Encrypted:
		b.refuse(fmt.Sprintf("disk %s: image %s is encrypted and was attached while the VM ran", of, n.File),
			"start the VM with it on the command line")
	case localDrivers[n.Driver] && strings.HasPrefix(n.File, "json:"), !localDrivers[n.Driver] && !formatDrivers[n.Driver] && !filterDrivers[n.Driver]:
		b.refuse(fmt.Sprintf("disk %s: block node %s (%s, %.120s) came while the VM ran and cannot be said on a command line", of, n.Name, n.Driver, n.File),
			"start the VM with it on the command line, or copy the disk back by blockdev-mirror")
	}
	return tree
}

// flatten writes a tree with dots, in the order of its keys.
func flatten(prefix string, tree map[string]any) []cmdline.Pair {
	var pairs []cmdline.Pair
	for _, k := range slices.Sorted(maps.Keys(tree)) {
		if sub, ok := tree[k].(map[string]any); ok {
			pairs = append(pairs, flatten(prefix+k+".", sub)...)
			continue
		}
		pairs = append(pairs, cmdline.Pair{Key: prefix + k, Value: plainText(tree[k])})
	}
	return pairs
}
