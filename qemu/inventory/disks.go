package inventory

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
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

// Disks reads the guest's disks: quickly, for the guest is paused meanwhile.
func Disks(ctx context.Context, m Monitor) ([]Disk, error) {
	inv := &Inventory{}
	if err := inv.readBlock(ctx, m); err != nil {
		return nil, fmt.Errorf("list of disks: %w", err)
	}
	return inv.disks(), nil
}

func (inv *Inventory) disks() []Disk {
	disks := make([]Disk, 0, len(inv.Drives))
	for _, d := range inv.Drives {
		disks = append(disks, Disk{Device: diskName(d), Layers: layers(nil, d.Root, 0, "")})
	}
	renumber(disks)
	slices.SortFunc(disks, func(a, b Disk) int { return strings.Compare(a.Device, b.Device) })
	return disks
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
		rest, ok := strings.CutPrefix(d.Device, anonymous+"device[")
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

// CompareDisks tells whether the target has the source's disks; the error is a *DiskError. Same tells whether a name that the
// source has for a file is that of the target.
func CompareDisks(source, target []Disk, same func(source, target string) bool) error {
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
	sameFile := l.File == t.File || same(l.File, t.File)
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
