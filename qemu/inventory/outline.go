package inventory

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/inventory/parts"
)

// Disk is a block device of the guest with all nodes that are behind it, for comparing the two ends of a migration.
type Disk struct {
	Device string // the same on both ends
	Layers []Layer
}

// Layer is one node behind a disk. The first is what the device stands on; each is followed by those that it uses.
type Layer struct {
	Depth    int    // 0 = the first
	Role     string // in which the one above uses it
	Name     string // "" if QEMU has made it up
	Driver   string
	File     string
	Size     int64 // bytes that the guest sees; 0 for the file below a format, which grows
	ReadOnly bool  // of the first
}

// Outline is what the two ends of a migration compare before the guest changes sides.
type Outline struct {
	Disks   []Disk   // ordered by their devices
	Devices []string // ordered: id and type of each, and how many processors there are
}

// ReadOutline reads it quickly, for the guest is paused meanwhile.
func ReadOutline(ctx context.Context, m Monitor) (o Outline, err error) {
	inv := &Inventory{}
	if err := inv.ReadBlock(ctx, m); err != nil {
		return o, fmt.Errorf("list of disks: %w", err)
	}
	o.Disks = disks(inv)
	if o.Devices, err = deviceNames(ctx, m); err != nil {
		err = fmt.Errorf("list of devices: %w", err)
	}
	return o, err
}

func deviceNames(ctx context.Context, m Monitor) ([]string, error) {
	var names []string
	for _, dir := range []string{parts.Peripheral, parts.Anonymous} {
		all, err := parts.ListObjects(ctx, m, strings.TrimSuffix(dir, "/"))
		if err != nil {
			return nil, err
		}
		for _, c := range all {
			switch {
			case c.Object() == "":
			case dir == parts.Peripheral:
				names = append(names, c.Name+" "+c.Object())
			default:
				names = append(names, withoutID+c.Object())
			}
		}
	}
	var processors []json.RawMessage
	if err := m.Do(ctx, "query-cpus-fast", nil, &processors); err != nil {
		return nil, err
	}
	names = append(names, fmt.Sprintf("%d processors", len(processors)))
	slices.Sort(names)
	return names, nil
}

const withoutID = "- "

// Compare tells whether the target is the same machine as the source; the error is a *DiskError or a *DeviceError. Same
// tells whether a name that the source has for a file is that of the target. If all names may be others on the target,
// same is nil: then only kinds are compared.
func Compare(source, target Outline, same func(source, target string) bool) error {
	if same == nil {
		source, target = source.nameless(), target.nameless()
	}
	var onlySource, onlyTarget []string
	for _, d := range source.Devices {
		if i := slices.Index(target.Devices, d); i >= 0 {
			target.Devices = slices.Delete(slices.Clone(target.Devices), i, i+1)
		} else {
			onlySource = append(onlySource, d)
		}
	}
	if onlyTarget = target.Devices; len(onlySource)+len(onlyTarget) > 0 {
		return &DeviceError{onlySource, onlyTarget}
	}
	return compareDisks(source.Disks, target.Disks, same)
}

// nameless leaves only kinds and sizes.
func (o Outline) nameless() (out Outline) {
	for _, d := range o.Devices {
		if _, kind, named := strings.Cut(d, " "); named && !strings.HasSuffix(d, " processors") {
			d = withoutID + kind
		}
		out.Devices = append(out.Devices, d)
	}
	for _, d := range o.Disks {
		kinds := Disk{}
		for _, l := range d.Layers {
			if !parts.IsLocal(l.Driver) {
				kinds.Layers = append(kinds.Layers, Layer{Driver: l.Driver, Size: l.Size})
			}
		}
		out.Disks = append(out.Disks, kinds)
	}
	slices.SortFunc(out.Disks, func(a, b Disk) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// DeviceError says that the two ends do not have the same devices.
type DeviceError struct{ Source, Target []string } // which only one of them has

func (e *DeviceError) Error() string {
	list := func(names []string) string {
		if len(names) == 0 {
			return "nothing"
		}
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("devices differ: only the source has %.400s, only the target has %.400s", list(e.Source), list(e.Target))
}

// disks are those of a machine, in order.
func disks(inv *Inventory) []Disk {
	all := make([]Disk, 0, len(inv.Drives))
	for _, d := range inv.Drives {
		all = append(all, Disk{Device: diskName(d), Layers: layers(nil, d.Root, 0, "")})
	}
	renumber(all)
	slices.SortFunc(all, func(a, b Disk) int { return strings.Compare(a.Device, b.Device) })
	return all
}

func diskName(d Drive) string {
	if d.Name != "" {
		return d.Name
	}
	return d.Device
}

// renumber counts devices without an id anew: on the target there are no gaps where devices were unplugged.
func renumber(disks []Disk) {
	number := func(d Disk) (int, bool) {
		rest, ok := strings.CutPrefix(d.Device, parts.Anonymous+"device[")
		n, err := strconv.Atoi(strings.TrimSuffix(rest, "]"))
		return n, ok && err == nil
	}
	var numbers []int
	for _, d := range disks {
		if n, ok := number(d); ok {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	for i := range disks {
		if n, ok := number(disks[i]); ok {
			disks[i].Device = fmt.Sprintf("disk %d without id", slices.Index(numbers, n)+1)
		}
	}
}

func layers(list []Layer, n *Node, depth int, role string) []Layer {
	if n == nil {
		return list
	}
	l := Layer{Depth: depth, Role: role, Driver: n.Driver, File: n.File, ReadOnly: n.ReadOnly && depth == 0}
	if n.Named() {
		l.Name = n.Name
	}
	if len(n.Children) > 0 || depth == 0 {
		l.Size = n.Size
	}
	list = append(list, l)
	children := slices.Clone(n.Children)
	slices.SortStableFunc(children, func(a, b Child) int { return strings.Compare(b.Role, a.Role) }) // file before backing
	for _, c := range children {
		list = layers(list, c.Node, depth+1, c.Role)
	}
	return list
}

// DiskError says that a disk is not the same on both ends.
type DiskError struct {
	Disk           string
	Source, Target string // what is there
}

func (e *DiskError) Error() string {
	return fmt.Sprintf("disk %s differs: the source has %s, the target has %s", e.Disk, e.Source, e.Target)
}

func compareDisks(source, target []Disk, same func(source, target string) bool) error {
	for i := range max(len(source), len(target)) {
		switch {
		case i == len(target) || i < len(source) && source[i].Device < target[i].Device:
			return &DiskError{source[i].Device, source[i].String(), "none"}
		case i == len(source) || source[i].Device > target[i].Device:
			return &DiskError{target[i].Device, "none", target[i].String()}
		}
		a, b := source[i], target[i]
		if !slices.EqualFunc(a.Layers, b.Layers, func(x, y Layer) bool { return x.same(y, same) }) {
			return &DiskError{a.Device, a.String(), b.String()}
		}
	}
	return nil
}

// same compares two layers. The target may have named one that had no name.
func (l Layer) same(t Layer, same func(source, target string) bool) bool {
	if l.Name == "" {
		t.Name = ""
	}
	sameFile := l.File == t.File || same != nil && same(l.File, t.File)
	l.File, t.File = "", ""
	return sameFile && l == t
}

// String shows what is behind a disk, from above.
func (d Disk) String() string {
	if len(d.Layers) == 0 {
		return "no medium"
	}
	var b strings.Builder
	for i, l := range d.Layers {
		switch {
		case l.Role == "backing":
			b.WriteString(" on ")
		case i > 0:
			continue // the file's name is the format's, too
		}
		fmt.Fprintf(&b, "%s %.200s", l.Driver, l.File)
		if l.Name != "" {
			fmt.Fprintf(&b, " (node %s)", l.Name)
		}
		if l.Size > 0 {
			fmt.Fprintf(&b, " of %d bytes", l.Size)
		}
		if l.ReadOnly {
			b.WriteString(", read-only")
		}
	}
	return b.String()
}
