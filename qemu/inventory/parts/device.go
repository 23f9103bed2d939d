package parts

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/monitor"
)

// Device is a device that an operator asked for, on the command line or later.
type Device struct {
	Path     string // in QEMU's object tree
	ID       string // "" if it has none
	Type     string
	Bus      string         // name of the bus that it is on, "" if it is on none
	BusOf    string         // path of that bus: it begins with that of the device that has it
	Plugged  bool           // came after the machine was made
	Place    map[string]any // its address on the bus, or in memory
	State    map[string]any // what can be set while the machine runs
	Settings map[string]any // of a plugged device: all that is not as it would be by itself
}

// String names the device for people.
func (d Device) String() string {
	if d.ID != "" {
		return d.ID
	}
	return strings.TrimPrefix(d.Path, "/machine/")
}

// maxDevices bounds what is read of one machine.
const maxDevices = 4096

// entry is an entry of qom-list.
type entry struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// Object is the type of the object that an entry is, "" if it is another property.
func (c entry) Object() string {
	t, ok := strings.CutPrefix(c.Type, "child<")
	if !ok {
		return ""
	}
	return strings.TrimSuffix(t, ">")
}

// ListObjects are the entries of an object.
func ListObjects(ctx context.Context, m Monitor, path string) ([]entry, error) {
	var all []entry
	err := m.Do(ctx, "qom-list", map[string]string{"path": path}, &all)
	if err == nil && len(all) > maxDevices {
		err = fmt.Errorf("%s: %d entries: more than %d", path, len(all), maxDevices)
	}
	return all, err
}

// get is a property of an object.
func get(ctx context.Context, m Monitor, path, property string) (any, error) {
	var v any
	err := m.Do(ctx, "qom-get", map[string]string{"path": path, "property": property}, &v)
	return v, err
}

// readDevices reads the devices, those that others stand on before these.
func (inv *Inventory) readDevices(ctx context.Context, m Monitor) error {
	ports, err := readPorts(ctx, m)
	if err != nil {
		return err
	}
	for _, dir := range []string{Peripheral, Anonymous} {
		all, err := ListObjects(ctx, m, strings.TrimSuffix(dir, "/"))
		if err != nil {
			return err
		}
		for _, c := range all {
			if c.Object() == "" {
				continue
			}
			d := Device{Path: dir + c.Name, Type: c.Object(), Place: map[string]any{}, State: map[string]any{}}
			if dir == Peripheral {
				d.ID = c.Name
			}
			if err := d.read(ctx, m, ports); gone(err) {
				continue // unplugged meanwhile
			} else if err != nil {
				return fmt.Errorf("device %s: %w", d, err)
			}
			inv.Devices = append(inv.Devices, d)
		}
	}
	slices.SortFunc(inv.Devices, func(a, b Device) int { return natural(a.Path, b.Path) })
	inv.Devices = byBus(inv.Devices)
	return nil
}

// gone tells whether QEMU says that it has no such object any more.
func gone(err error) bool {
	e, ok := errors.AsType[*monitor.QMPError](err)
	return ok && e.Class == "DeviceNotFound"
}

// natural compares by length first: device[9] comes before device[10].
func natural(a, b string) int {
	if len(a) != len(b) {
		return len(a) - len(b)
	}
	return strings.Compare(a, b)
}

// byBus orders devices so that each comes after the one that its bus belongs to.
func byBus(devices []Device) []Device {
	var out []Device
	done := map[string]bool{}
	var take func(d Device, depth int)
	take = func(d Device, depth int) {
		if done[d.Path] || depth > maxDepth {
			return
		}
		for _, o := range devices {
			if o.Path != d.Path && strings.HasPrefix(d.BusOf, o.Path+"/") {
				take(o, depth+1)
			}
		}
		if !done[d.Path] {
			done[d.Path] = true
			out = append(out, d)
		}
	}
	for _, d := range devices {
		take(d, 0)
	}
	return out
}

// places are the properties that say where a device is.
var places = []string{"addr", "slot", "channel", "scsi-id", "lun", "unit", "nr", "port", "cssid", "devno"}

// states are properties that can be set while a machine runs, with what QEMU takes when nothing is said.
var states = map[string]float64{"bootindex": -1, "requested-size": 0, "guest-stats-polling-interval": 0}

// StateUnsaid is what QEMU takes for a state when nothing is said.
func StateUnsaid(name string) float64 { return states[name] }

func (d *Device) read(ctx context.Context, m Monitor, ports map[string]string) error {
	properties, err := ListObjects(ctx, m, d.Path)
	if err != nil {
		return err
	}
	has := map[string]string{}
	for _, p := range properties {
		has[p.Name] = p.Type
	}
	if v, err := get(ctx, m, d.Path, "parent_bus"); err == nil {
		d.BusOf, _ = v.(string)
		d.Bus = path.Base(d.BusOf)
	}
	if d.BusOf == "" || d.Bus == "main-system-bus" {
		d.Bus = ""
	}
	v, err := get(ctx, m, d.Path, "hotplugged")
	if err != nil {
		return err
	}
	d.Plugged, _ = v.(bool)
	for _, name := range places {
		if has[name] == "" {
			continue
		}
		if v, err := get(ctx, m, d.Path, name); err == nil && !unset(v) {
			d.Place[name] = v
		}
	}
	for name := range states {
		if has[name] == "" {
			continue
		}
		if v, err := get(ctx, m, d.Path, name); err == nil {
			d.State[name] = v
		}
	}
	if addr, ok := d.Place["addr"].(float64); ok && has["multifunction"] != "" { // of PCI: slot and function in one number
		d.Place["addr"] = fmt.Sprintf("%02x.%x", int(addr)>>3, int(addr)&7)
	}
	if port := ports[d.ID]; port != "" && has["port"] != "" {
		d.Place["port"] = port
	}
	if d.Plugged {
		return d.readSettings(ctx, m)
	}
	return nil
}

// unset tells whether a value stands for "QEMU chooses", or for nothing.
func unset(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case float64:
		return v < 0 || v == 1<<32-1
	case []any:
		return len(v) == 0
	}
	return false
}

// notSettings are properties that cannot be set, or that the device's place says.
var notSettings = set("busnr attached size id bus " + strings.Join(places, " "))

// readSettings reads what a device was told, as far as it is not what it would have chosen.
func (d *Device) readSettings(ctx context.Context, m Monitor) error {
	d.Settings = map[string]any{}
	if strings.HasSuffix(d.Type, "-cpu") {
		return nil // -cpu has it all
	}
	var properties []struct {
		Name    string `json:"name"`
		Type    string `json:"type"`
		Default any    `json:"default-value"`
	}
	if err := m.Do(ctx, "device-list-properties", map[string]string{"typename": d.Type}, &properties); err != nil {
		return err
	}
	for _, p := range properties {
		if notSettings[p.Name] || strings.HasPrefix(p.Type, "child<") {
			continue
		}
		v, err := get(ctx, m, d.Path, p.Name)
		if err != nil || unset(v) || p.Default != nil && fmt.Sprint(v) == fmt.Sprint(p.Default) {
			continue
		}
		if _, state := v.(map[string]any); state {
			continue
		}
		if s, ok := v.(string); ok && strings.HasPrefix(p.Type, "link<") {
			id, named := strings.CutPrefix(s, "/objects/")
			if !named {
				continue // the device has made it for itself
			}
			v = id
		}
		d.Settings[p.Name] = v
	}
	return nil
}

var usbLine = regexp.MustCompile(`(?m)^\s*Device \S+, Port ([0-9.]+), .*, ID: (\S+)\s*$`)

// readPorts reads the ports of USB devices by their ids. No other command tells them.
func readPorts(ctx context.Context, m Monitor) (map[string]string, error) {
	text, err := human(ctx, m, "info usb")
	ports := map[string]string{}
	for _, f := range usbLine.FindAllStringSubmatch(text, maxDevices) {
		ports[f[2]] = f[1]
	}
	return ports, err
}

func human(ctx context.Context, m Monitor, line string) (string, error) {
	var text string
	err := m.Do(ctx, "human-monitor-command", map[string]string{"command-line": line}, &text)
	return text, err
}

// AnonymousIndex is the number in the path of a device without an id, -1 if it has one.
func AnonymousIndex(path string) int {
	rest, ok := strings.CutPrefix(path, Anonymous+"device[")
	number, _, _ := strings.Cut(rest, "]")
	i, err := strconv.Atoi(number)
	if !ok || err != nil {
		return -1
	}
	return i
}
