package rewrite

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/inventory/parts"
)

// shorthands are the options that stand for a -drive, with what they say beside the file.
var shorthands = map[string]string{
	"": "index=0,media=disk", "hda": "index=0,media=disk", "hdb": "index=1,media=disk", "hdc": "index=2,media=disk",
	"hdd": "index=3,media=disk", "cdrom": "index=2,media=cdrom", "fda": "if=floppy,index=0", "fdb": "if=floppy,index=1",
	"sd": "if=sd", "pflash": "if=pflash", "mtdblock": "if=mtd",
}

// asDrive is an option in the form of a -drive, nil if it is no drive.
func asDrive(o *option) *option {
	if o.Name == "drive" {
		return o
	}
	keys, ok := shorthands[o.Name]
	if !ok {
		return nil
	}
	d := parseOption(cmdline.Argument{Name: "drive", Value: keys, HasValue: true})
	d.pairs = append(d.pairs, cmdline.Pair{Key: "file", Value: o.Value})
	return d
}

// drives are the options that make disks with a drive of their own: -drive, and its short forms.
type drives struct{ *rewriting }

// rewrite makes each -drive open what it has now.
func (ds drives) rewrite() {
	known := map[string]bool{}
	slots := newSlots(ds.inv.Machine)
	for _, o := range slices.Clone(ds.options) {
		d := asDrive(o)
		if d == nil {
			continue
		}
		name := slots.name(d)
		known[name] = true
		now := ds.inv.Drive(name)
		if now == nil {
			ds.remove(o) // it went with its device
			continue
		}
		if ds.drive(d, now); d.changed {
			ds.replace(o, d)
		}
	}
	for i := range ds.inv.Drives {
		if d := &ds.inv.Drives[i]; d.Name != "" && !known[d.Name] {
			ds.newDrive(d)
		}
	}
}

// newDrive adds a drive that no option made: QEMU's own empty ones have got a medium, others were added later.
func (ds drives) newDrive(d *parts.Drive) {
	o := parseOption(cmdline.Argument{Name: "drive", HasValue: true})
	switch {
	case d.Root == nil && d.Removable:
		return
	case d.Name == "floppy0":
		o.set("if", "floppy")
		o.set("index", 0)
	case d.Removable && strings.HasSuffix(d.Name, "-cd0"):
		o.set("index", 2)
		o.set("media", "cdrom")
	default:
		o.set("if", "none")
		o.set("id", d.Name)
	}
	ds.drive(o, d)
	ds.add(o)
}

// drive makes one -drive open what it has now.
func (ds drives) drive(o *option, now *parts.Drive) {
	ds.throttle(o, now)
	if now.Root == nil {
		o.drop(mediumKeys...)
		return
	}
	if sameMedium(o, now.Root) {
		if o.first("format", "driver") == "" { // a target must not guess it from what the guest has written
			o.set("format", now.Root.Driver)
		}
		return
	}
	o.drop(mediumKeys...)
	n := now.Root
	if n.ReadOnly && o.get("media") != "cdrom" {
		o.set("read-only", true)
	}
	if file := plainFile(n); file != "" && n.ByName() {
		o.set("file", file)
		o.set("format", n.Driver)
		if n.Named() {
			o.set("node-name", n.Name)
		}
		setIf(o, "detect-zeroes", n.DetectZeroes, "off")
		return
	}
	tree := ds.describe(n, nil, now.String(), false)
	for _, p := range flatten("", tree) {
		if p.Key != "read-only" {
			o.set(p.Key, p.Value)
		}
	}
}

// mediumKeys say what a -drive opens.
var mediumKeys = []string{"file", "format", "driver", "backing", "data-file", "node-name", "read-only", "readonly", "detect-zeroes"}

func setIf(o *option, key, value, otherwise string) {
	if value != otherwise && value != "" {
		o.set(key, value)
	}
}

// plainFile is the path below a format, if nothing else has to be said about it.
func plainFile(n *parts.Node) string {
	f := n.Child("file")
	if f == nil || f.Named() || !parts.IsLocal(f.Driver) || strings.HasPrefix(f.File, "json:") || strings.Contains(f.File, ":") ||
		!formatDrivers[n.Driver] || n.Child("data-file") != nil || n.Encrypted || strings.HasPrefix(n.File, "json:") {
		return ""
	}
	return f.File
}

// sameMedium tells whether a -drive would open the chain that is there now.
func sameMedium(o *option, n *parts.Node) bool {
	if d := o.first("format", "driver"); d != "" && d != n.Driver {
		return false
	}
	if name := o.get("node-name"); name != "" && name != n.Name || name == "" && n.Named() {
		return false
	}
	readOnly := o.first("read-only", "readonly") == "on" || o.get("media") == "cdrom"
	if readOnly != n.ReadOnly && o.get("auto-read-only") != "on" {
		return false
	}
	if z := o.get("detect-zeroes"); n.DetectZeroes != "" && z != n.DetectZeroes && (z != "" || n.DetectZeroes != "off") {
		return false
	}
	if o.has("backing") || o.has("data-file") || !sameFile(o, n) {
		return matches(o.nested(), n, true)
	}
	return n.ByName()
}

// sameFile tells whether a -drive names the file that the lowest node has, directly.
func sameFile(o *option, n *parts.Node) bool {
	want := strings.TrimPrefix(o.first("file", "file.filename", "filename"), "file:")
	protocol := n
	for c := protocol.Child("file"); c != nil; c = protocol.Child("file") {
		protocol = c
	}
	return want != "" && want == protocol.File
}

// slots gives drives without an id the names that QEMU gives them, after where they are plugged in.
type slots struct {
	standard string
	units    map[string]int // per bus, of those kinds that count so
	taken    map[string]bool
}

func newSlots(machine string) *slots {
	s := &slots{standard: "ide", units: map[string]int{"ide": 2, "scsi": 7}, taken: map[string]bool{}}
	switch {
	case strings.Contains(machine, "q35"):
		s.units["ide"] = 1
	case strings.HasPrefix(machine, "microvm"), strings.HasPrefix(machine, "virt"):
		s.standard = "virtio"
	}
	return s
}

func (s *slots) name(o *option) string {
	kind := o.get("if")
	if kind == "" {
		kind = s.standard
	}
	units := s.units[kind]
	bus, _ := strconv.Atoi(o.get("bus"))
	unit, err := strconv.Atoi(o.get("unit"))
	if i, ierr := strconv.Atoi(o.get("index")); ierr == nil {
		bus, unit, err = 0, i, nil
		if units > 0 {
			bus, unit = i/units, i%units
		}
	}
	if err != nil {
		for unit = 0; s.taken[fmt.Sprint(kind, bus, ".", unit)]; {
			if unit++; units > 0 && unit >= units {
				bus, unit = bus+1, 0
			}
		}
	}
	s.taken[fmt.Sprint(kind, bus, ".", unit)] = true
	medium := ""
	if kind == "ide" || kind == "scsi" {
		medium = "-hd"
		if o.get("media") == "cdrom" {
			medium = "-cd"
		}
	}
	switch id := o.get("id"); {
	case id != "":
		return id
	case units > 0:
		return fmt.Sprint(kind, bus, medium, unit)
	}
	return kind + medium + strconv.Itoa(unit)
}

// throttle gives a -drive the limits that it has now.
func (ds drives) throttle(o *option, now *parts.Drive) {
	if now.Root == nil {
		return
	}
	said := map[string]uint64{}
	for _, name := range parts.LimitNames {
		if v, err := strconv.ParseUint(o.first(limitKey(name), name), 10, 64); err == nil && v > 0 {
			said[name] = v
		}
	}
	noLength := func(name string, v uint64) bool { return strings.HasSuffix(name, "_length") && v == 1 }
	limits := maps.Clone(now.Limits)
	maps.DeleteFunc(limits, noLength)
	maps.DeleteFunc(said, noLength)
	group := o.first("throttling.group", "group")
	wanted := ds.inv.GroupOf(now)
	if maps.Equal(said, limits) && (group == wanted || group == now.Name && wanted == "") {
		return
	}
	for _, name := range parts.LimitNames {
		o.drop(name, limitKey(name))
	}
	o.drop("group", "throttling.group")
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		o.set(limitKey(name), limits[name])
	}
	if len(limits) > 0 && wanted != "" {
		o.set("throttling.group", wanted)
	}
}

// limitKey is how -drive calls a limit: bps_rd_max is throttling.bps-read-max there.
func limitKey(name string) string {
	parts := strings.Split(name, "_")
	kind := "total"
	if len(parts) > 1 && (parts[1] == "rd" || parts[1] == "wr") {
		kind = map[string]string{"rd": "read", "wr": "write"}[parts[1]]
		parts = slices.Delete(parts, 1, 2)
	}
	if parts[0] == "iops" && len(parts) == 2 && parts[1] == "size" {
		return "throttling.iops-size"
	}
	return "throttling." + strings.Join(slices.Insert(parts, 1, kind), "-")
}
