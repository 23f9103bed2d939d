package inventory

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// Object is a back end of -object: memory, randomness, threads, limits.
type Object struct {
	ID, Type string
	Settings map[string]any // those of the type that QEMU tells
}

// Chardev is a character device.
type Chardev struct {
	ID   string
	Kind string         // null, socket, pty, ...
	File string         // as QEMU describes it
	Addr map[string]any // of a socket
}

// Netdev is the host's side of a network card.
type Netdev struct {
	ID, Kind string
	Info     string // as QEMU describes it
	Queues   int
	Forwards []string // of user networking, as hostfwd takes them
}

// objectSettings are the settings of the objects that can be made anew from what QEMU tells of them.
var objectSettings = map[string]string{
	"memory-backend-ram":   memorySettings,
	"memory-backend-memfd": memorySettings + " hugetlb hugetlbsize seal",
	"memory-backend-file":  memorySettings + " mem-path align discard-data pmem readonly",
	"memory-backend-shm":   memorySettings,
	"iothread":             "poll-max-ns poll-grow poll-shrink aio-max-batch thread-pool-min thread-pool-max",
	"rng-random":           "filename",
	"rng-builtin":          "",
	"rng-egd":              "chardev",
	"throttle-group":       "limits",
	"tls-creds-x509":       "dir endpoint verify-peer priority passwordid",
	"tls-creds-anon":       "dir endpoint verify-peer priority",

	"cryptodev-backend-builtin": "queues",
}

// zeroIsUnset are settings that QEMU tells as 0 when they were not given, and does not take as 0.
var zeroIsUnset = set("hugetlbsize align")

const memorySettings = "size share merge dump policy host-nodes prealloc prealloc-threads reserve"

func (inv *Inventory) readObjects(ctx context.Context, m Monitor) error {
	all, err := list(ctx, m, "/objects")
	if err != nil {
		return err
	}
	for _, c := range all {
		if c.object() == "" {
			continue
		}
		o := Object{ID: c.Name, Type: c.object(), Settings: map[string]any{}}
		for _, key := range strings.Fields(objectSettings[o.Type]) {
			if v, err := get(ctx, m, "/objects/"+c.Name, key); err == nil && !unset(v) && !(v == 0.0 && zeroIsUnset[key]) {
				o.Settings[key] = v
			}
		}
		inv.Objects = append(inv.Objects, o)
	}
	slices.SortFunc(inv.Objects, func(a, b Object) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

func (inv *Inventory) readChardevs(ctx context.Context, m Monitor) error {
	var all []struct {
		ID   string `json:"label"`
		File string `json:"filename"`
	}
	if err := m.Do(ctx, "query-chardev", nil, &all); err != nil {
		return err
	}
	kinds := map[string]string{}
	entries, err := list(ctx, m, "/chardevs")
	if err != nil {
		return err
	}
	for _, e := range entries {
		kinds[e.Name] = strings.TrimPrefix(e.object(), "chardev-")
	}
	for _, c := range all {
		d := Chardev{ID: c.ID, Kind: kinds[c.ID], File: c.File}
		if d.Kind == "socket" {
			v, _ := get(ctx, m, "/chardevs/"+c.ID, "addr") // a listening one has it
			d.Addr, _ = v.(map[string]any)
		}
		inv.Chardevs = append(inv.Chardevs, d)
	}
	slices.SortFunc(inv.Chardevs, func(a, b Chardev) int { return strings.Compare(a.ID, b.ID) })
	return nil
}

var (
	netLine     = regexp.MustCompile(`(?m)^(?: \\ )?(\S+): index=([0-9]+),type=([a-z0-9-]+),?(.*?)\r?$`)
	hubLine     = regexp.MustCompile(`^Hub -?[0-9]+ \((.+)\):`)
	forwardLine = regexp.MustCompile(`^\s*(TCP|UDP)\[HOST_FORWARD\]\s+\S+\s+(\S+)\s+([0-9]+)\s+(\S+)\s+([0-9]+)`)
)

// readNetdevs reads the back ends of networks out of text for humans: QEMU has no other command for them.
func (inv *Inventory) readNetdevs(ctx context.Context, m Monitor) error {
	text, err := human(ctx, m, "info network")
	if err != nil {
		return err
	}
	for _, f := range netLine.FindAllStringSubmatch(text, maxDevices) {
		name, kind := f[1], f[3]
		i := slices.IndexFunc(inv.Netdevs, func(n Netdev) bool { return n.ID == name })
		switch {
		case kind == "nic" || kind == "hubport" || strings.HasPrefix(name, "#"):
		case i < 0:
			inv.Netdevs = append(inv.Netdevs, Netdev{ID: name, Kind: kind, Info: f[4], Queues: 1})
		default:
			inv.Netdevs[i].Queues++
		}
	}
	return inv.readForwards(ctx, m)
}

func (inv *Inventory) readForwards(ctx context.Context, m Monitor) error {
	if !slices.ContainsFunc(inv.Netdevs, func(n Netdev) bool { return n.Kind == "user" }) {
		return nil
	}
	text, err := human(ctx, m, "info usernet")
	var of *Netdev
	for line := range strings.Lines(text) {
		if f := hubLine.FindStringSubmatch(line); f != nil {
			of = nil
			if i := slices.IndexFunc(inv.Netdevs, func(n Netdev) bool { return n.ID == f[1] }); i >= 0 {
				of = &inv.Netdevs[i]
			}
		}
		if f := forwardLine.FindStringSubmatch(line); f != nil && of != nil {
			of.Forwards = append(of.Forwards, fmt.Sprintf("%s:%s:%s-%s:%s", strings.ToLower(f[1]), host(f[2]), f[3], host(f[4]), f[5]))
		}
	}
	return err
}

func host(s string) string {
	if s == "*" {
		return ""
	}
	return s
}

// objects takes away the objects that are gone, adds those that came, and says present limits.
func (b *builder) objects() {
	for _, o := range b.all("object") {
		now := b.inv.object(o.get("id"))
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
		if _, ok := objectSettings[o.Type]; !ok {
			b.refuse(fmt.Sprintf("object %s (%s): came while the VM ran, and QEMU does not tell what it was made with", o.ID, o.Type), "remove it (object-del)")
			continue
		}
		tree := map[string]any{"qom-type": o.Type, "id": o.ID}
		maps.Copy(tree, whole(o.Settings))
		b.options = slices.Insert(b.options, 0, newOption("object", tree))
	}
}

// sameObject tells whether an option made the object. An id may be another's by now.
func sameObject(o *option, now *Object) bool {
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

func (inv *Inventory) object(id string) *Object {
	i := slices.IndexFunc(inv.Objects, func(o Object) bool { return o.ID == id })
	if i < 0 {
		return nil
	}
	return &inv.Objects[i]
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
func (b *builder) limits(o *option, now *Object) {
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
	b.options[slices.Index(b.options, o)] = newOption("object", tree)
}

// ownChardevs are the labels that QEMU gives to character devices of other options.
var ownChardevs = regexp.MustCompile(`^(#.*|compat_monitor[0-9]+|(serial|parallel|virtcon|usb|sclp|vc|vdagent|ringbuf|mux)[0-9]*(-base)?|debugcon|gdb|vcon|isa_debugcon)$`)

// chardevs takes away the character devices that are gone, and adds those that came.
func (b *builder) chardevs() {
	for _, o := range b.all("chardev") {
		id := o.get("id")
		i := slices.IndexFunc(b.inv.Chardevs, func(c Chardev) bool { return c.ID == id || c.ID == id+"-base" })
		switch {
		case i < 0:
			b.remove(o)
		case !sameChardev(o, b.inv.Chardevs[i]):
			b.changedChardev(o, b.inv.Chardevs[i])
		}
	}
	for _, c := range b.inv.Chardevs {
		if b.withID("chardev", strings.TrimSuffix(c.ID, "-base")) != nil || ownChardevs.MatchString(c.ID) {
			continue
		}
		if o := chardevOption(c); o != nil {
			b.add(o)
		} else {
			b.refuse(fmt.Sprintf("character device %s (%s, %s): came while the VM ran, and QEMU does not tell what it was made with", c.ID, c.Kind, c.File),
				"unplug what uses it, then chardev-remove")
		}
	}
}

// sameChardev tells whether an option made what is there. A socket's address was not changed if it is still that of the option.
func sameChardev(o *option, c Chardev) bool {
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

func (b *builder) changedChardev(o *option, c Chardev) {
	if n := chardevOption(c); n != nil {
		b.options[slices.Index(b.options, o)] = n
		return
	}
	b.refuse(fmt.Sprintf("character device %s is %s (%s) by now, and QEMU does not tell what it was made with", c.ID, c.Kind, c.File), "change it back (chardev-change)")
}

// chardevOption makes an option for a character device, nil if QEMU does not tell enough of it. -chardev takes no JSON.
func chardevOption(c Chardev) *option {
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
func (b *builder) netdevs() {
	for _, o := range b.all("netdev") {
		same := func(n Netdev) bool { return n.ID == o.get("id") && sameNetdev(o, n) }
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
			b.refuse(fmt.Sprintf("network %s (%s, %s): came while the VM ran, and QEMU does not tell what it was made with", n.ID, n.Kind, n.Info),
				"unplug its card, then netdev_del")
		}
	}
}

// netOption tells whether an option made a network.
func (b *builder) netOption(id string) bool {
	for _, o := range b.all("netdev", "nic", "net") {
		if o.first("id", "name") == id {
			return true
		}
	}
	return false
}

// told are the parts of QEMU's description of a network.
func (n Netdev) told() map[string]string {
	told := map[string]string{}
	for part := range strings.SplitSeq(n.Info, ",") {
		key, value, _ := strings.Cut(part, "=")
		told[key] = value
	}
	return told
}

// sameNetdev tells whether an option made the network. An id may be another's by now.
func sameNetdev(o *option, n Netdev) bool {
	if t := o.get("type"); t != n.Kind {
		return false
	}
	told := n.told()
	for _, key := range []string{"ifname", "br"} {
		if said := o.get(key); said != "" && told[key] != "" && said != told[key] {
			return false
		}
	}
	return true
}

func netdevOption(n Netdev) *option {
	tree := map[string]any{"type": n.Kind, "id": n.ID}
	told := n.told()
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
