package policy

import (
	"path/filepath"
	"regexp"
	"slices"

	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/confine"
	"github.com/scatter-vm/scatter/qemu/survey"
	"github.com/scatter-vm/scatter/qemu/vmname"
)

// Policy decides which command lines of a source may be started on this host, and how they change on the way.
// The zero value starts /usr/bin/qemu-system-* and lets it open nothing.
//
// What is judged comes from another host and may be forged. So everything that is not known to be harmless is refused
// by name: options, kinds of devices and back ends, keys, and paths. What is let through is written anew from what was
// understood, never copied, so that QEMU cannot read it in another way.
type Policy struct {
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
	Programs *survey.Programs
}

// PortRange is the TCP ports from First to Last.
type PortRange struct{ First, Last uint16 }

// Rewrite replaces the beginning of paths.
type Rewrite struct{ From, To string }

// Command turns the command line of a source's VM into that of its target: it waits for an incoming migration, does not
// run before it is told to, and has its monitor and pid file in runDir. The monitors, log files and windows of the
// source are left out. Extra arguments are trusted and come last. The error is a *vmname.Error, or Errors with all that is refused.
func (p Policy) Command(argv []string, name, runDir string, extra ...string) (*Command, error) {
	if err := vmname.Check(name); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(runDir) {
		return nil, Errors{{Option: "run directory", Value: runDir, Reason: "not an absolute path"}}
	}
	if len(argv) == 0 || len(argv) > maxArgs {
		return nil, Errors{{Option: "command line", Reason: "empty or too long"}}
	}
	binary, err := p.binary(argv[0])
	refused := refusals(err)
	items, err := split(argv[1:])
	refused = append(refused, refusals(err)...)
	j := &judge{Policy: p, binary: binary, runDir: runDir}
	j.confined, _ = confine.Possible()
	j.confined = j.confined && !p.Unconfined
	out := []string{binary, "-name", "guest=" + cmdline.EscapeComma(guestName(items, name))}
	for _, it := range withoutMonitors(items) {
		args, err := j.item(it)
		refused = append(refused, refusals(err)...)
		out = append(out, args...)
	}
	memory, err := cmdline.MemoryOf(argv)
	refused = append(refused, refusals(err)...)
	defaults, err := j.defaults(items)
	if refused = append(refused, refusals(err)...); len(refused) > 0 {
		return nil, refused
	}
	privileges, err := j.privileges()
	if err != nil {
		return nil, Errors{{Option: "binary", Value: binary, Reason: err.Error()}}
	}
	out = slices.Concat(out, defaults, privileges)
	f := FilesOf(runDir, name)
	out = append(out, "-monitor", "none", "-qmp", "unix:"+cmdline.EscapeComma(f.Socket)+",server=on,wait=off",
		"-pidfile", f.PID, "-incoming", "defer", "-S")
	return &Command{name, runDir, append(out, extra...), memory, j.confinement()}, nil
}

var packagedQEMU = regexp.MustCompile(`^(?:/usr/bin/)?(qemu-system-[a-z0-9_-]+)$`)

// otherNames are programs by which distributions have QEMU, too: Proxmox, and Red Hat's.
var otherNames = []string{"/usr/bin/kvm", "/usr/libexec/qemu-kvm"}

func (p Policy) binary(source string) (string, error) {
	if p.QEMU != "" {
		return p.QEMU, nil
	}
	if slices.Contains(otherNames, source) {
		return source, nil
	}
	m := packagedQEMU.FindStringSubmatch(source)
	if m == nil {
		return "", &Error{Option: "binary", Value: cmdline.Shorten(source), Reason: "not /usr/bin/qemu-system-*; name the program with --qemu"}
	}
	return "/usr/bin/" + m[1], nil
}
