package rewrite

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/inventory/parts"
)

// backends are the host's side of devices: objects, character devices and networks.
type backends struct{ *rewriting }

func (b backends) rewrite() {
	b.objects()
	b.chardevs()
	b.netdevs()
}

// objects takes away the objects that are gone, adds those that came, and says present limits.
func (b backends) objects() {
	for _, o := range b.all("object") {
		now := b.inv.Object(o.get("id"))
		switch {
		case now == nil || !sameObject(o, now):
			b.remove(o)
		case now.Type == "throttle-group":
			b.limits(o, now)
		}
	}
	for _, o := range b.inv.Objects {
		if b.withID("object", o.ID) != nil || o.ID == b.inv.RAM {
			continue
		}
		if !o.Told() {
			b.cannot(fmt.Sprintf("object %s (%s): came while the VM ran, and QEMU does not tell what it was made with", o.ID, o.Type), "remove it (object-del)")
			continue
		}
		tree := map[string]any{"qom-type": o.Type, "id": o.ID}
		maps.Copy(tree, whole(o.Settings))
		b.prepend(newOption("object", tree))
	}
}

// sameObject tells whether an option made the object. An id may be another's by now.
func sameObject(o *option, now *parts.Object) bool {
	if t := o.get("qom-type"); t != now.Type && t != "" {
		return false
	}
	for _, key := range []string{"filename", "mem-path", "dir", "chardev"} {
		if said, is := o.get(key), plainText(now.Settings[key]); said != "" && is != "" && said != is {
			return false
		}
	}
	size, ok := now.Settings["size"].(float64)
	return !ok || !o.has("size") || number(o.get("size"), size) == size
}

// whole writes whole numbers as such, at any depth.
func whole(tree map[string]any) map[string]any {
	out := map[string]any{}
	for k, v := range tree {
		switch v := v.(type) {
		case float64:
			out[k] = wholeNumber(v)
		case map[string]any:
			out[k] = whole(v)
		default:
			out[k] = v
		}
	}
	return out
}

// limits gives a throttle group the limits that it has now.
func (b backends) limits(o *option, now *parts.Object) {
	limits, _ := now.Settings["limits"].(map[string]any)
	same := true
	for key, v := range limits {
		f, _ := v.(float64)
		said := o.first("limits."+key, "x-"+key)
		if said == "" {
			said = map[bool]string{true: "1", false: "0"}[strings.HasSuffix(key, "-length")]
		}
		same = same && said == plainText(wholeNumber(f))
	}
	if same {
		return
	}
	tree := map[string]any{"qom-type": now.Type, "id": now.ID, "limits": whole(limits)}
	b.replace(o, newOption("object", tree))
}

// chardevs takes away the character devices that are gone, and adds those that came.
func (b backends) chardevs() {
	for _, o := range b.all("chardev") {
		id := o.get("id")
		i := slices.IndexFunc(b.inv.Chardevs, func(c parts.Chardev) bool { return c.ID == id || c.ID == id+"-base" })
		switch {
		case i < 0:
			b.remove(o)
		case !sameChardev(o, b.inv.Chardevs[i]):
			b.changedChardev(o, b.inv.Chardevs[i])
		}
	}
	for _, c := range b.inv.Chardevs {
		if b.withID("chardev", strings.TrimSuffix(c.ID, "-base")) != nil || c.Implied() {
			continue
		}
		if o := chardevOption(c); o != nil {
			b.add(o)
		} else {
			b.cannot(fmt.Sprintf("character device %s (%s, %s): came while the VM ran, and QEMU does not tell what it was made with", c.ID, c.Kind, c.File),
				"unplug what uses it, then chardev-remove")
		}
	}
}

// sameChardev tells whether an option made what is there. A socket's address was not changed if it is still that of the option.
func sameChardev(o *option, c parts.Chardev) bool {
	kind := o.get("backend")
	switch kind {
	case "tty":
		kind = "serial"
	case "parport":
		kind = "parallel"
	case "memory":
		kind = "ringbuf"
	}
	if kind != c.Kind && c.Kind != "" && kind != "" && kind != "vc" && c.Kind != "mux" {
		return false
	}
	said := o.get("path")
	return kind != "socket" || said == "" || c.Addr["path"] == nil || plainText(c.Addr["path"]) == said
}

func (b backends) changedChardev(o *option, c parts.Chardev) {
	if n := chardevOption(c); n != nil {
		b.replace(o, n)
		return
	}
	b.cannot(fmt.Sprintf("character device %s is %s (%s) by now, and QEMU does not tell what it was made with", c.ID, c.Kind, c.File), "change it back (chardev-change)")
}

// chardevOption makes an option for a character device, nil if QEMU does not tell enough of it. -chardev takes no JSON.
func chardevOption(c parts.Chardev) *option {
	o := parseOption(cmdline.Argument{Name: "chardev", Value: c.Kind, HasValue: true})
	o.set("id", c.ID)
	switch c.Kind {
	case "null", "pty", "ringbuf", "spicevmc":
		return o
	case "socket":
		file := strings.TrimPrefix(c.File, "disconnected:")
		unix, listens := strings.HasPrefix(file, "unix:"), strings.Contains(file, ",server=on")
		if !unix || plainText(c.Addr["path"]) == "" {
			return nil
		}
		o.set("path", c.Addr["path"])
		if listens {
			o.set("server", true)
			o.set("wait", false)
		}
		return o
	}
	return nil
}

// netdevs takes away the networks that are gone, and adds those that came.
func (b backends) netdevs() {
	for _, o := range b.all("netdev") {
		same := func(n parts.Netdev) bool { return n.ID == o.get("id") && sameNetdev(o, n) }
		if o.get("type") != "hubport" && !slices.ContainsFunc(b.inv.Netdevs, same) {
			b.remove(o)
		}
	}
	for _, n := range b.inv.Netdevs {
		if b.netOption(n.ID) {
			continue
		}
		if o := netdevOption(n); o != nil {
			b.add(o)
		} else {
			b.cannot(fmt.Sprintf("network %s (%s, %s): came while the VM ran, and QEMU does not tell what it was made with", n.ID, n.Kind, n.Info),
				"unplug its card, then netdev_del")
		}
	}
}

// netOption tells whether an option made a network.
func (b backends) netOption(id string) bool {
	for _, o := range b.all("netdev", "nic", "net") {
		if o.first("id", "name") == id {
			return true
		}
	}
	return false
}

// sameNetdev tells whether an option made the network. An id may be another's by now.
func sameNetdev(o *option, n parts.Netdev) bool {
	if t := o.get("type"); t != n.Kind {
		return false
	}
	told := n.Told()
	for _, key := range []string{"ifname", "br"} {
		if said := o.get(key); said != "" && told[key] != "" && said != told[key] {
			return false
		}
	}
	return true
}

func netdevOption(n parts.Netdev) *option {
	tree := map[string]any{"type": n.Kind, "id": n.ID}
	told := n.Told()
	switch {
	case n.Kind == "tap" && told["ifname"] != "" && n.Queues == 1:
		tree["ifname"] = told["ifname"]
		tree["script"], tree["downscript"] = orNo(told["script"]), orNo(told["downscript"])
	case n.Kind == "user" && told["net"] != "":
		tree["net"], tree["restrict"] = told["net"]+"/24", told["restrict"] == "on"
		if len(n.Forwards) > 0 {
			var all []any
			for _, f := range n.Forwards {
				all = append(all, map[string]any{"str": f})
			}
			tree["hostfwd"] = all
		}
	default:
		return nil
	}
	return newOption("netdev", tree)
}

func orNo(program string) string {
	if program == "" {
		return "no"
	}
	return program
}
