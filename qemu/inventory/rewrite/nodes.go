package rewrite

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/inventory/parts"
)

// The drivers of nodes that can be described by what QEMU tells of them.
var (
	formatDrivers = wordSet("raw qcow2 qed vmdk vdi vhdx vpc")
	filterDrivers = wordSet("copy-on-read throttle preallocate")
	structure     = wordSet("driver node-name filename file backing data-file read-only auto-read-only cache detect-zeroes")
)

// rewriteNodes gives devices the nodes that they have now, and these nodes a -blockdev each.
func rewriteNodes(r *rewriting, d *devices) {
	g := &graph{rewriting: r, devices: d, made: map[string]*option{}, done: map[string]bool{}}
	old := r.all("blockdev")
	at := len(r.options)
	if len(old) > 0 {
		at = slices.Index(r.options, old[0])
	}
	for _, o := range old {
		g.own(o, o.nested())
	}
	for _, root := range g.roots() {
		g.define(root.node, root.of)
	}
	g.spare()
	g.missing()
	r.options = slices.DeleteFunc(r.options, func(o *option) bool { return o.Name == "blockdev" })
	r.options = slices.Insert(r.options, min(at, len(r.options)), g.out...)
}

// root is a node on which a device stands, by name.
type root struct {
	node *parts.Node
	of   string // the device, for people
}

// roots lists the nodes that devices use by name, and gives each device the one that it has now.
func (g *graph) roots() []root {
	var all []root
	for i := range g.inv.Drives {
		d := &g.inv.Drives[i]
		if d.Name != "" {
			continue
		}
		if d.Root != nil {
			g.name(d.Root)
			all = append(all, root{d.Root, d.String()})
		}
		g.attach(d)
	}
	return all
}

// missing refuses disks whose files are not there any more: QEMU has them open, the target cannot.
func (g *graph) missing() {
	for i := range g.inv.Drives {
		d := &g.inv.Drives[i]
		if n := d.Root.Find((*parts.Node).IsMissing); n != nil {
			g.cannot(fmt.Sprintf("disk %s: file %s is gone", d, n.File), "copy the disk to a new file (blockdev-mirror), or eject the medium")
		}
	}
}

// name gives a node a name if it has none, so that a device can be told to use it.
func (g *graph) name(n *parts.Node) {
	for !n.Named() {
		name := fmt.Sprintf("scatter%d", g.names)
		g.names++
		if g.inv.Nodes[name] == nil {
			n.Name = name
		}
	}
}

// attach makes the option that made a device use the node that it has now.
func (g *graph) attach(d *parts.Drive) {
	set := func(o *option, key string) {
		switch {
		case d.Root == nil:
			o.drop(key)
		case o.get(key) != d.Root.Name:
			o.set(key, d.Root.Name)
		}
	}
	if n, ok := strings.CutPrefix(d.Device, "/machine/system.flash"); ok {
		for _, o := range g.all("machine", "M") {
			if o.has("pflash" + n) {
				set(o, "pflash"+n)
			}
		}
		return
	}
	if o := g.devices.device(d.Device); o != nil && (d.Root != nil || o.has("drive")) {
		set(o, "drive")
	}
}

// graph defines nodes in an order in which each comes after those that it uses.
type graph struct {
	*rewriting
	devices *devices
	made    map[string]*option // that define a node, itself or nested
	done    map[string]bool
	out     []*option
	names   int // of nodes that got one
}

// own notes the nodes that an option defines.
func (g *graph) own(o *option, tree map[string]any) {
	if name := plainText(tree["node-name"]); name != "" {
		g.made[name] = o
	}
	for _, role := range []string{"file", "backing", "data-file"} {
		if sub, ok := tree[role].(map[string]any); ok {
			g.own(o, sub)
		}
	}
}

// define sees that a named node is defined, once.
func (g *graph) define(n *parts.Node, of string) {
	if g.done[n.Name] {
		return
	}
	o := g.made[n.Name]
	if o != nil && o.get("node-name") != n.Name { // nested in another one
		if top := g.inv.Nodes[o.get("node-name")]; top != nil && matches(o.nested(), top, false) {
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
	tree := g.describe(n, old, of, true)
	tree["node-name"] = n.Name
	for _, c := range n.Children {
		if name, ok := tree[c.Role].(string); ok && name == c.Node.Name {
			g.define(c.Node, of)
		}
	}
	g.out = append(g.out, newOption("blockdev", tree))
}

// keep takes an option over as it is, after those that it refers to.
func (g *graph) keep(o *option, n *parts.Node, of string) {
	var walk func(tree map[string]any, n *parts.Node)
	walk = func(tree map[string]any, n *parts.Node) {
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
	for _, o := range g.all("blockdev") {
		name := o.get("node-name")
		if n := g.inv.Nodes[name]; n != nil && !g.done[name] && n.ReadOnly && n.Find((*parts.Node).IsMissing) == nil && matches(o.nested(), n, false) {
			g.define(n, "without device")
		}
	}
}

// matches tells whether an option's tree defines the node as it is now. Of a drive, the outermost keys are not only
// the node's.
func matches(tree map[string]any, n *parts.Node, drive bool) bool {
	if d := plainText(tree["driver"]); d != n.Driver && (d != "" || !drive) {
		return false
	}
	if parts.IsLocal(n.Driver) && strings.TrimPrefix(plainText(tree["filename"]), "file:") != n.File {
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

func matchesChild(tree map[string]any, role string, n *parts.Node) bool {
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
		return n.ByName() && n.Child("backing").Find(func(n *parts.Node) bool { return n.Named() }) == nil
	}
	return child == nil || role == "data-file"
}

// sameFlags compares how a node is opened. What a tree does not say, a nested node has from above.
func sameFlags(tree map[string]any, n *parts.Node) bool {
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
func (r *rewriting) describe(n *parts.Node, old map[string]any, of string, refer bool) map[string]any {
	tree := r.strong(n, of)
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
	case parts.IsLocal(n.Driver):
		tree["filename"] = n.File
		tree["auto-read-only"] = true
	case n.ReadOnly:
		tree["read-only"] = true
	}
	for _, c := range n.Children {
		sub, _ := old[c.Role].(map[string]any)
		switch {
		case c.Role == "backing" && n.ByName() && c.Node.Find((*parts.Node).Named) == nil:
		case refer && c.Node.Named():
			tree[c.Role] = c.Node.Name
		default:
			tree[c.Role] = r.describe(c.Node, sub, of, refer)
		}
	}
	if n.Header.Backing != "" && n.Child("backing") == nil {
		tree["backing"] = nil
	}
	return tree
}

// strong is what a node's name in JSON says beyond its driver and children, and the refusal of nodes that cannot be
// described.
func (r *rewriting) strong(n *parts.Node, of string) map[string]any {
	tree := map[string]any{}
	if text, ok := strings.CutPrefix(n.File, "json:"); ok && !parts.IsLocal(n.Driver) {
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
		r.cannot(fmt.Sprintf("disk %s: image %s is encrypted and was attached while the VM ran", of, n.File),
			"start the VM with it on the command line")
	case parts.IsLocal(n.Driver) && strings.HasPrefix(n.File, "json:"), !parts.IsLocal(n.Driver) && !formatDrivers[n.Driver] && !filterDrivers[n.Driver]:
		r.cannot(fmt.Sprintf("disk %s: block node %s (%s, %.120s) came while the VM ran and cannot be said on a command line", of, n.Name, n.Driver, n.File),
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

func wordSet(words string) map[string]bool {
	all := map[string]bool{}
	for _, w := range strings.Fields(words) {
		all[w] = true
	}
	return all
}
