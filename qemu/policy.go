package qemu

import (
	"path/filepath"
	"regexp"
	"strings"
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
}

// Rewrite replaces the beginning of paths.
type Rewrite struct{ From, To string }

// Command turns the command line of a source's VM into that of its target: it waits for an incoming migration, does not
// run before it is told to, and has its monitor and pid file in runDir. The monitors, log files and windows of the
// source are left out. Extra arguments are trusted and come last. The error is a *PolicyError, or a *NameError.
func (p LaunchPolicy) Command(argv []string, name, runDir string, extra ...string) ([]string, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	if !filepath.IsAbs(runDir) {
		return nil, &PolicyError{Option: "run directory", Value: runDir, Reason: "not an absolute path"}
	}
	binary, items, err := p.split(argv)
	if err != nil {
		return nil, err
	}
	j := newJudge(p, runDir)
	out := []string{binary, "-name", "guest=" + name}
	for _, it := range withoutMonitors(items) {
		args, err := j.item(it)
		if err != nil {
			return nil, err
		}
		out = append(out, args...)
	}
	defaults, err := j.defaults(items)
	if err != nil {
		return nil, err
	}
	out = append(out, defaults...)
	f := newRunFiles(runDir, name)
	out = append(out, "-monitor", "none", "-qmp", "unix:"+escapeComma(f.socket)+",server=on,wait=off",
		"-pidfile", f.pid, "-incoming", "defer", "-S")
	return append(out, extra...), nil
}

// runFiles are the files of one VM in the run directory.
type runFiles struct{ socket, pid, log string }

func newRunFiles(runDir, name string) runFiles {
	base := filepath.Join(runDir, name)
	return runFiles{socket: base + ".qmp", pid: base + ".pid", log: base + ".log"}
}

// item is one option of a command line. Its name is without dashes; a disk image without option has the name "".
type item struct {
	name, value string
	hasValue    bool
}

func (it item) option() string {
	if it.name == "" {
		return "disk image"
	}
	return "-" + it.name
}

// split separates a command line into its program and its options.
func (p LaunchPolicy) split(argv []string) (binary string, items []item, err error) {
	if len(argv) == 0 || len(argv) > maxArgs {
		return "", nil, &PolicyError{Option: "command line", Reason: "empty or too long"}
	}
	if binary, err = p.binary(argv[0]); err != nil {
		return "", nil, err
	}
	for rest := argv[1:]; len(rest) > 0; {
		var it item
		it, rest, err = nextItem(rest)
		if err != nil {
			return "", nil, err
		}
		items = append(items, it)
	}
	return binary, items, nil
}

func nextItem(args []string) (item, []string, error) {
	name, isOption := strings.CutPrefix(args[0], "-")
	if !isOption {
		it := item{value: args[0], hasValue: true}
		return it, args[1:], checkArgument(it)
	}
	it := item{name: strings.TrimPrefix(name, "-")}
	opt, known := options[it.name]
	switch {
	case !known || it.name == "":
		return it, nil, &PolicyError{Option: shorten(args[0]), Reason: "not known to the launch policy"}
	case opt.rule == nil:
		return it, args[1:], nil
	case len(args) < 2:
		return it, nil, &PolicyError{Option: it.option(), Reason: "its value is missing"}
	}
	it.value, it.hasValue = args[1], true
	return it, args[2:], checkArgument(it)
}

// checkArgument refuses what no honest value has.
func checkArgument(it item) error {
	if len(it.value) > maxArgLen {
		return &PolicyError{Option: it.option(), Value: shorten(it.value), Reason: "too long"}
	}
	if strings.ContainsFunc(it.value, func(r rune) bool { return r < ' ' || r == 0x7f }) {
		return &PolicyError{Option: it.option(), Value: shorten(it.value), Reason: "has control characters"}
	}
	return nil
}

var packagedQEMU = regexp.MustCompile(`^(?:/usr/bin/)?(qemu-system-[a-z0-9_-]+)$`)

func (p LaunchPolicy) binary(source string) (string, error) {
	if p.QEMU != "" {
		return p.QEMU, nil
	}
	m := packagedQEMU.FindStringSubmatch(source)
	if m == nil {
		return "", &PolicyError{Option: "binary", Value: shorten(source), Reason: "not /usr/bin/qemu-system-*; name the program with --qemu"}
	}
	return "/usr/bin/" + m[1], nil
}

// withoutMonitors drops the character devices that only a dropped monitor used.
func withoutMonitors(items []item) []item {
	monitors := map[string]bool{}
	for _, it := range items {
		if it.name == "mon" {
			monitors[idOf(it.value, "chardev", "chardev")] = true
		}
	}
	var kept []item
	for _, it := range items {
		id := ""
		if it.name == "chardev" {
			id = idOf(it.value, "backend", "id")
		}
		if id == "" || !monitors[id] || usesChardev(items, id) {
			kept = append(kept, it)
		}
	}
	return kept
}

// idOf is the value of one key, "" if there is none.
func idOf(value, implied, key string) string {
	pairs, err := parseKeyval(value, implied)
	if err != nil {
		return ""
	}
	for _, p := range pairs {
		if p.key == key {
			return p.value
		}
	}
	return ""
}

// usesChardev tells whether an option other than a monitor names the character device. One yes too many is harmless:
// the character device is judged like all others.
func usesChardev(items []item, id string) bool {
	uses := regexp.MustCompile(`chardev[0-9]*"?\s*[:=]\s*"?` + regexp.QuoteMeta(id) + `($|[",])`)
	for _, it := range items {
		if it.name != "mon" && it.name != "chardev" && uses.MatchString(it.value) {
			return true
		}
	}
	return false
}

// judge carries the policy through one command line.
type judge struct {
	LaunchPolicy
	runDir string
	option string // being judged
}

func newJudge(p LaunchPolicy, runDir string) *judge { return &judge{LaunchPolicy: p, runDir: runDir} }

// item judges one option and returns the arguments that it becomes, none if it is dropped.
func (j *judge) item(it item) ([]string, error) {
	j.option = it.option()
	if it.name == "" {
		path, err := disk(j, it.value)
		return []string{path}, err
	}
	opt := options[it.name]
	if opt.refuse != "" {
		return nil, j.refuse(it.value, opt.refuse)
	}
	if opt.drop {
		return nil, nil
	}
	if !it.hasValue {
		return []string{"-" + it.name}, nil
	}
	value, err := opt.rule(j, it.value)
	if err != nil {
		return nil, err
	}
	return []string{"-" + it.name, value}, nil
}

// defaults makes up for what QEMU does when it is not told: it opens a window, and it gives the guest a network.
func (j *judge) defaults(items []item) ([]string, error) {
	has := func(names ...string) bool {
		for _, it := range items {
			for _, n := range names {
				if it.name == n {
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

func (j *judge) refuse(value, reason string) error {
	return &PolicyError{Option: j.option, Value: shorten(value), Reason: reason}
}

func shorten(s string) string {
	if len(s) > 120 {
		return s[:120] + "..."
	}
	return s
}
