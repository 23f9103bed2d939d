//go:build lab

package compat

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/bench/lab/witness"
)

// sight is what can be seen of a VM from outside, as lines that can be compared with those of another QEMU.
type sight struct {
	status string
	lines  []string
}

// look asks a QEMU all about its VM. Paths in dir, the host's own directory, are written as $LOCAL.
func look(ctx context.Context, m *witness.Monitor, dir string) (sight, error) {
	l := &looker{ctx: ctx, m: m, dir: dir}
	var s sight
	s.status, l.err = m.Status(ctx)
	for _, part := range []func(){l.machine, l.processors, l.memory, l.devices, l.pci, l.usb, l.characters, l.networks, l.disks, l.objects, l.balloon, l.vnc} {
		part()
	}
	slices.Sort(l.lines)
	s.lines = l.lines
	return s, l.err
}

// differences lists what one VM has and the other has not.
func differences(source, target sight) []string {
	var all []string
	rest := slices.Clone(target.lines)
	for _, line := range source.lines {
		if i := slices.Index(rest, line); i >= 0 {
			rest = slices.Delete(rest, i, i+1)
		} else {
			all = append(all, "only on the source: "+line)
		}
	}
	for _, line := range rest {
		all = append(all, "only on the target: "+line)
	}
	return all
}

// looker collects lines until the first error.
type looker struct {
	ctx   context.Context
	m     *witness.Monitor
	dir   string
	lines []string
	err   error
}

func (l *looker) add(format string, args ...any) {
	line := fmt.Sprintf(format, args...)
	l.lines = append(l.lines, strings.ReplaceAll(line, l.dir, "$LOCAL"))
}

func (l *looker) ask(command string, arguments, out any) {
	if l.err == nil {
		l.err = l.m.Do(l.ctx, command, arguments, out)
	}
}

// tell is ask for what not every QEMU can answer; it reports whether this one has.
func (l *looker) tell(command string, arguments, out any) bool {
	return l.err == nil && l.m.Do(l.ctx, command, arguments, out) == nil
}

func (l *looker) human(line string) []string {
	if l.err != nil {
		return nil
	}
	text, err := l.m.Human(l.ctx, line)
	l.err = err
	return slices.DeleteFunc(strings.Split(text, "\n"), func(s string) bool { return strings.TrimSpace(s) == "" })
}

func (l *looker) machine() {
	var machine string
	l.ask("qom-get", map[string]string{"path": "/machine", "property": "type"}, &machine)
	var kvm struct{ Enabled bool }
	l.ask("query-kvm", nil, &kvm)
	l.add("machine %s, kvm %v", machine, kvm.Enabled)
}

func (l *looker) processors() {
	var cpus []struct {
		Type  string
		Props map[string]int
		Path  string `json:"qom-path"`
	}
	if !l.tell("query-hotpluggable-cpus", nil, &cpus) {
		return
	}
	for _, c := range cpus {
		l.add("cpu %s %v there=%v", c.Type, c.Props, c.Path != "")
	}
}

func (l *looker) memory() {
	var size map[string]int64
	l.ask("query-memory-size-summary", nil, &size)
	l.add("memory %v", size)
	var modules []struct {
		Type string
		Data map[string]any
	}
	l.ask("query-memory-devices", nil, &modules)
	for _, d := range modules {
		delete(d.Data, "hotplugged") // tells how it came, not what it is
		l.add("module %s %v", d.Type, d.Data)
	}
	var backends []map[string]any
	l.ask("query-memdev", nil, &backends)
	for _, b := range backends {
		l.add("backend %v", b)
	}
}

// property is one that a QOM object has.
type property struct{ Name, Type string }

// devices lists those that the command line or a monitor has made, with all their plain properties.
func (l *looker) devices() {
	for _, place := range []string{"/machine/peripheral", "/machine/peripheral-anon"} {
		var children []property
		l.ask("qom-list", map[string]string{"path": place}, &children)
		for _, c := range children {
			if kind, ok := strings.CutPrefix(c.Type, "child<"); ok {
				name := c.Name
				if place != "/machine/peripheral" {
					name = "without id"
				}
				l.add("device %s: %s%s", name, strings.TrimSuffix(kind, ">"), l.properties(place+"/"+c.Name))
			}
		}
	}
}

// notCompared are properties that tell how a device came, which name QEMU made up for its disk, or what it guessed when it started.
var notCompared = []string{"type", "realized", "hotplugged", "hotpluggable", "drive", "parent_bus", "legacy-addr", "legacy-memory", "legacy-devfn",
	"port",                                              // the wish for one: where a USB device is tells info usb
	"cyls", "heads", "secs", "lcyls", "lheads", "lsecs"} // QEMU guesses the geometry at the start, from the size that the disk has then

func (l *looker) properties(path string) string {
	var list []property
	l.ask("qom-list", map[string]string{"path": path}, &list)
	slices.SortFunc(list, func(a, b property) int { return cmp.Compare(a.Name, b.Name) })
	var b strings.Builder
	for _, p := range list {
		if strings.Contains(p.Type, "<") || slices.Contains(notCompared, p.Name) || strings.HasPrefix(p.Name, "x-") || strings.HasPrefix(p.Name, "queue") {
			continue
		}
		var v any
		if l.tell("qom-get", map[string]string{"path": path, "property": p.Name}, &v) {
			fmt.Fprintf(&b, " %s=%v", p.Name, v)
		}
	}
	return b.String()
}

func (l *looker) pci() {
	type device struct {
		Bus, Slot, Function int
		Class               struct{ Class int }          `json:"class_info"`
		ID                  struct{ Device, Vendor int } `json:"id"`
		Name                string                       `json:"qdev_id"`
		Bridge              json.RawMessage              `json:"pci_bridge"`
	}
	var buses []struct{ Devices []device }
	l.ask("query-pci", nil, &buses)
	var add func(device)
	add = func(d device) {
		l.add("pci %d:%d.%d %04x %04x:%04x %s", d.Bus, d.Slot, d.Function, d.Class.Class, d.ID.Vendor, d.ID.Device, d.Name)
		var bridge struct{ Devices []device }
		if len(d.Bridge) > 0 && json.Unmarshal(d.Bridge, &bridge) == nil {
			for _, below := range bridge.Devices {
				add(below)
			}
		}
	}
	for _, b := range buses {
		for _, d := range b.Devices {
			add(d)
		}
	}
}

var usbAddress = regexp.MustCompile(`Device \d+\.\d+, `)

func (l *looker) usb() {
	for _, line := range l.human("info usb") {
		l.add("usb %s", usbAddress.ReplaceAllString(strings.TrimSpace(line), ""))
	}
}

var terminal = regexp.MustCompile(`/dev/pts/\d+`)

// characters lists character devices but for those of monitors, which each host has of its own.
func (l *looker) characters() {
	var list []struct{ Label, Filename string }
	l.ask("query-chardev", nil, &list)
	for _, c := range list {
		if strings.HasPrefix(c.Label, "lab") || strings.HasPrefix(c.Label, "compat_monitor") {
			continue
		}
		l.add("chardev %s %s", c.Label, terminal.ReplaceAllString(c.Filename, "/dev/pts/N"))
	}
}

// madeUp are names that QEMU, or the host, finds for what was given none.
var madeUp = regexp.MustCompile(`(#net|ifname=tap)\d+`)

func (l *looker) networks() {
	for _, line := range l.human("info network") {
		l.add("network %s", madeUp.ReplaceAllString(strings.TrimSpace(line), "$1"))
	}
}

// objects lists those of -object, with the limits of groups that have any.
func (l *looker) objects() {
	var list []property
	l.ask("qom-list", map[string]string{"path": "/objects"}, &list)
	for _, o := range list {
		kind, ok := strings.CutPrefix(o.Type, "child<")
		if !ok {
			continue
		}
		var limits map[string]int64
		l.tell("qom-get", map[string]string{"path": "/objects/" + o.Name, "property": "limits"}, &limits)
		l.add("object %s: %s limits %v", o.Name, strings.TrimSuffix(kind, ">"), limits)
	}
}

func (l *looker) balloon() {
	var b struct{ Actual int64 }
	if l.tell("query-balloon", nil, &b) {
		l.add("balloon %d", b.Actual)
	}
}

func (l *looker) vnc() {
	var v struct {
		Enabled       bool
		Auth, Service string
	}
	if l.tell("query-vnc", nil, &v) && v.Enabled {
		l.add("vnc auth %s at %s", v.Auth, v.Service)
	}
}
