package qemu

import (
	"context"
	"errors"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/confine"
	"github.com/scatter-vm/scatter/qemu/vmname"
)

const (
	maxArgs   = 8192      // options of one command line
	maxArgLen = 128 << 10 // bytes of one argument; the kernel takes no longer ones
)

// LaunchPolicy decides which command lines of a source may be started on this host, and how they change on the way.
// The zero value starts /usr/bin/qemu-system-* and lets it open nothing.
//
// What is judged comes from another host and may be forged. So everything that is not known to be harmless is refused
// by name: options, kinds of devices and back ends, keys, and paths. What is let through is written anew from what was
// understood, never copied, so that QEMU cannot read it in another way.
type LaunchPolicy struct {
	// QEMU is the program to start. Empty: the source's own, if it is /usr/bin/qemu-system-*.
	QEMU string
	// AllowPaths are the files, and the directories with all that is below them, that QEMU may open: disk images,
	// kernels, sockets of helpers, host devices. An entry with a scheme, such as rbd:vms/ or nbd://storage/, allows
	// the disks whose names begin so.
	AllowPaths []string
	// AllowPrograms are programs that QEMU may start: /etc/qemu-ifup, a bridge helper.
	AllowPrograms []string
	// AllowNetwork permits what makes connections from this host on the guest's behalf: user networking (which a
	// command line without any network option has too), sockets, disks on the network.
	AllowNetwork bool
	// Rewrites are applied to paths before they are judged. The longest matching one wins.
	Rewrites []Rewrite
	// AllowPorts are the TCP ports at which QEMU may listen for VNC and SPICE. Empty: 5700 to 6923, which are those of 1024 displays.
	// With AllowNetwork, it may listen for all else at them and at all ports from 1024 on.
	AllowPorts []PortRange
	// AllowInterfaces are the names, as patterns of path.Match, of network interfaces and bridges that QEMU may attach to. Empty: all.
	AllowInterfaces []string
	// RunAs is the user that a QEMU is when it has opened its files. Empty: the same as ours.
	RunAs string
	// Unconfined lets a QEMU get at all that its user may, past what its command line says: images can name other files. Otherwise the
	// kernel confines it, and where it cannot, such images are refused.
	Unconfined bool
	// Programs tells by which other names the QEMU that is to be started knows its devices. Nil: those names are refused.
	Programs *Programs
}

// PortRange is the TCP ports from First to Last.
type PortRange struct{ First, Last uint16 }

// Rewrite replaces the beginning of paths.
type Rewrite struct{ From, To string }

// Command is a command line to start, and what the kernel is to let it do: nil = all that its user may.
type Command struct {
	Name, RunDir string // of the VM, and where its socket, pid file and log are
	Argv         []string
	Memory       int64 // that it asks for, in bytes
	Confinement  *confine.Confinement
}

// Command turns the command line of a source's VM into that of its target: it waits for an incoming migration, does not
// run before it is told to, and has its monitor and pid file in runDir. The monitors, log files and windows of the
// source are left out. Extra arguments are trusted and come last. The error is a *NameError, or PolicyErrors with all that is refused.
func (p LaunchPolicy) Command(argv []string, name, runDir string, extra ...string) (*Command, error) {
	if err := vmname.Check(name); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(runDir) {
		return nil, PolicyErrors{{Option: "run directory", Value: runDir, Reason: "not an absolute path"}}
	}
	if len(argv) == 0 || len(argv) > maxArgs {
		return nil, PolicyErrors{{Option: "command line", Reason: "empty or too long"}}
	}
	binary, err := p.binary(argv[0])
	refused := refusals(err)
	items, err := split(argv[1:])
	refused = append(refused, refusals(err)...)
	j := &judge{LaunchPolicy: p, binary: binary, runDir: runDir}
	j.confined, _ = confine.Possible()
	j.confined = j.confined && !p.Unconfined
	out := []string{binary, "-name", "guest=" + cmdline.EscapeComma(guestName(items, name))}
	for _, it := range withoutMonitors(items) {
		args, err := j.item(it)
		refused = append(refused, refusals(err)...)
		out = append(out, args...)
	}
	memory, err := MemoryOf(argv)
	refused = append(refused, refusals(err)...)
	defaults, err := j.defaults(items)
	if refused = append(refused, refusals(err)...); len(refused) > 0 {
		return nil, refused
	}
	privileges, err := j.privileges()
	if err != nil {
		return nil, PolicyErrors{{Option: "binary", Value: binary, Reason: err.Error()}}
	}
	out = slices.Concat(out, defaults, privileges)
	f := newRunFiles(runDir, name)
	out = append(out, "-monitor", "none", "-qmp", "unix:"+cmdline.EscapeComma(f.socket)+",server=on,wait=off",
		"-pidfile", f.pid, "-incoming", "defer", "-S")
	return &Command{name, runDir, append(out, extra...), memory, j.confinement()}, nil
}

// guestName is the name that QEMU is given: the VM's own, if that is known here by this name.
func guestName(items []cmdline.Argument, name string) string {
	for _, it := range items {
		if own := cmdline.KeyvalOf(it.Value, "guest", "guest"); it.Name == "name" && own != "" && vmname.Alias(own) == name {
			return own
		}
	}
	return name
}

// runFiles are the files of one VM in the run directory.
type runFiles struct{ socket, pid, log string }

func newRunFiles(runDir, name string) runFiles {
	base := filepath.Join(runDir, name)
	return runFiles{socket: base + ".qmp", pid: base + ".pid", log: base + ".log"}
}

// split separates a command line, without its program, into the options that are known. The error names the others.
func split(args []string) (items []cmdline.Argument, err error) {
	var refused []error
	for len(args) > 0 {
		it, rest, err := nextItem(args)
		if err != nil {
			refused = append(refused, err)
		} else {
			items = append(items, it)
		}
		args = rest
	}
	return items, errors.Join(refused...)
}

// nextItem takes an option off.
func nextItem(args []string) (cmdline.Argument, []string, error) {
	it, rest := cmdline.Next(args)
	switch form := cmdline.FormOf(it.Name); {
	case !strings.HasPrefix(args[0], "-"): // a disk image
	case form == cmdline.Unknown:
		return it, rest, &PolicyError{Option: shorten(args[0]), Reason: "not known to the launch policy"}
	case form == cmdline.Valued && !it.HasValue:
		return it, nil, &PolicyError{Option: it.Option(), Reason: "its value is missing"}
	}
	return it, rest, checkArgument(it)
}

// checkArgument refuses what no honest value has.
func checkArgument(it cmdline.Argument) error {
	if len(it.Value) > maxArgLen {
		return &PolicyError{Option: it.Option(), Value: shorten(it.Value), Reason: "too long"}
	}
	if strings.ContainsFunc(it.Value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return &PolicyError{Option: it.Option(), Value: shorten(it.Value), Reason: "has control characters"}
	}
	return nil
}

var packagedQEMU = regexp.MustCompile(`^(?:/usr/bin/)?(qemu-system-[a-z0-9_-]+)$`)

// otherNames are programs by which distributions have QEMU, too: Proxmox, and Red Hat's.
var otherNames = []string{"/usr/bin/kvm", "/usr/libexec/qemu-kvm"}

func (p LaunchPolicy) binary(source string) (string, error) {
	if p.QEMU != "" {
		return p.QEMU, nil
	}
	if slices.Contains(otherNames, source) {
		return source, nil
	}
	m := packagedQEMU.FindStringSubmatch(source)
	if m == nil {
		return "", &PolicyError{Option: "binary", Value: shorten(source), Reason: "not /usr/bin/qemu-system-*; name the program with --qemu"}
	}
	return "/usr/bin/" + m[1], nil
}

// withoutMonitors drops the character devices that only a dropped monitor used.
func withoutMonitors(items []cmdline.Argument) []cmdline.Argument {
	monitors := map[string]bool{}
	for _, it := range items {
		if it.Name == "mon" {
			monitors[cmdline.KeyvalOf(it.Value, "chardev", "chardev")] = true
		}
	}
	var kept []cmdline.Argument
	for _, it := range items {
		id := ""
		if it.Name == "chardev" {
			id = cmdline.KeyvalOf(it.Value, "backend", "id")
		}
		if id == "" || !monitors[id] || usesChardev(items, id) {
			kept = append(kept, it)
		}
	}
	return kept
}

// usesChardev tells whether an option other than a monitor names the character device. One yes too many is harmless:
// the character device is judged like all others.
func usesChardev(items []cmdline.Argument, id string) bool {
	uses := regexp.MustCompile(`chardev[0-9]*"?\s*[:=]\s*"?` + regexp.QuoteMeta(id) + `($|[",])`)
	for _, it := range items {
		if it.Name != "mon" && it.Name != "chardev" && uses.MatchString(it.Value) {
			return true
		}
	}
	return false
}

// judge carries the policy through one command line.
type judge struct {
	LaunchPolicy
	binary   string
	runDir   string
	confined bool // by the kernel

	option   string // being judged
	readOnly bool   // what it opens is only read

	opened   []string // files that may be opened
	ports    []uint16 // that may be listened at
	programs bool     // some are started
}

// item judges one option and returns the arguments that it becomes, none if it is dropped.
func (j *judge) item(it cmdline.Argument) ([]string, error) {
	j.option, j.readOnly = it.Option(), false
	if it.Name == "" {
		_, err := shortDisk(j, it.Value)
		return nil, err
	}
	opt := options[it.Name]
	if opt.refuse != "" {
		return nil, j.refuse(it.Value, opt.refuse)
	}
	if opt.drop {
		return nil, nil
	}
	if !it.HasValue {
		return []string{"-" + it.Name}, nil
	}
	value, err := opt.rule(j, it.Value)
	if err != nil {
		return nil, err
	}
	return []string{"-" + it.Name, value}, nil
}

// defaults makes up for what QEMU does when it is not told: it opens a window, and it gives the guest a network.
func (j *judge) defaults(items []cmdline.Argument) ([]string, error) {
	has := func(names ...string) bool {
		for _, it := range items {
			for _, n := range names {
				if it.Name == n {
					return true
				}
			}
		}
		return false
	}
	if !j.AllowNetwork && !has("nodefaults", "net", "nic", "netdev") {
		j.option = "-nic user"
		return nil, j.refuse("", "implied by a command line without network options; "+needsNetwork)
	}
	if !has("display", "vnc", "spice", "nographic") {
		return []string{"-display", "none"}, nil
	}
	return nil, nil
}

// privileges are the options by which QEMU gives up what it does not need: another user's rights, and system calls.
func (j *judge) privileges() (out []string, err error) {
	if j.Programs == nil {
		return nil, nil
	}
	s, err := j.Programs.Survey(context.Background(), j.binary) // which has a time-out of its own
	if err != nil {
		return nil, nil // its start will show why
	}
	sandbox := "on,obsolete=deny,spawn=deny"
	switch {
	case j.RunAs == "":
		sandbox += ",elevateprivileges=deny"
	case s.AtLeast(9, 1):
		out = append(out, "-run-with", "user="+cmdline.EscapeComma(j.RunAs))
	default:
		out = append(out, "-runas", j.RunAs)
	}
	if s.Sandbox && !j.programs && !j.Unconfined {
		out = append(out, "-sandbox", sandbox)
	}
	return out, nil
}

func (j *judge) refuse(value, reason string) error {
	return &PolicyError{Option: j.option, Value: shorten(value), Reason: reason}
}

func shorten(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}
