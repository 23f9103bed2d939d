// Package inspect looks whether a host, and the way from it to others, have what an evacuation takes.
package inspect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/image"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/pki"
	"github.com/scatter-vm/scatter/scatter/system"
)

// What a host should have.
const (
	wantReceiveBuffer = 4 << 20      // bytes; less loses datagrams when a target's CPU is busy for some milliseconds
	wantMTU           = model.MinMTU // bytes; IPv6's least, far below any Ethernet
	ptraceAttach      = 2            // kernel.yama.ptrace_scope from which privileges are needed, whoever the parent is
	qemuTimeout       = 10 * time.Second
)

// Levels of a Finding.
const (
	LevelOK      = "ok"
	LevelWarning = "warning"
	LevelError   = "error"
)

// Check looks whether this host, and the way to cfg.Targets, have what an evacuation takes. It changes nothing. The error is
// only about checking itself; what is wrong with a host is a finding.
func Check(ctx context.Context, cfg Config) ([]Finding, error) {
	h := thisHost()
	all := h.check(ctx, cfg)
	if len(cfg.Targets) == 0 {
		return all, ctx.Err()
	}
	probed, err := ProbeTargets(ctx, cfg)
	return append(all, probed...), err
}

// checkedHost is what the local checks read, so that tests can show them other hosts.
type checkedHost struct {
	root  fs.FS // of the file system
	iface func(name string) (*net.Interface, []net.Addr, error)
	run   func(ctx context.Context, binary string) (version string, err error)
}

func thisHost() checkedHost {
	return checkedHost{root: os.DirFS("/"), iface: readInterface, run: runVersion}
}

func (h checkedHost) check(ctx context.Context, cfg Config) []Finding {
	caps := h.capabilities()
	all := []Finding{
		h.checkPtrace(caps),
		h.checkReceiveBuffer(caps),
		h.checkGroups(),
		h.checkInterface(cfg.Interface, cfg.GroupBase),
		checkConfinement(qemu.CanConfine()),
		checkTools(image.Missing()),
	}
	if cfg.TLSDir != "" {
		all = append(all, checkTLS(cfg.TLSDir)...)
	}
	return append(all, h.checkQEMU(ctx, cfg.QEMU)...)
}

func foundOK(check, format string, args ...any) Finding {
	return Finding{Check: check, Level: LevelOK, Message: fmt.Sprintf(format, args...)}
}

func foundWarning(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Level: LevelWarning, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

func foundError(check, remedy, format string, args ...any) Finding {
	return Finding{Check: check, Level: LevelError, Message: fmt.Sprintf(format, args...), Remedy: remedy}
}

// capabilities is the effective set of this process, 0 when it cannot be read.
func (h checkedHost) capabilities() uint64 {
	b, err := fs.ReadFile(h.root, "proc/self/status")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if hex, found := strings.CutPrefix(line, "CapEff:"); found {
			set, _ := strconv.ParseUint(strings.TrimSpace(hex), 16, 64)
			return set
		}
	}
	return 0
}

func hasCap(caps uint64, capability int) bool { return caps>>capability&1 == 1 }

// checkTools: images that are no raw ones are made by QEMU's own programs.
func checkTools(missing []string) Finding {
	const name = "image tools"
	if len(missing) > 0 {
		return foundWarning(name, "install QEMU's tools (qemu-utils, qemu-img), if VMs whose disks are qcow2 images are to come here with these",
			"there is no %s: no qcow2 disk can be made here", strings.Join(missing, ", and no "))
	}
	return foundOK(name, "qcow2 disks can be made here")
}

// checkPtrace: guest memory is read and written as a debugger would.
func (h checkedHost) checkPtrace(caps uint64) Finding {
	const name = "guest memory"
	if hasCap(caps, unix.CAP_SYS_PTRACE) {
		return foundOK(name, "CAP_SYS_PTRACE is there")
	}
	scope, err := h.number("proc/sys/kernel/yama/ptrace_scope")
	if err == nil && scope >= 1 {
		return foundError(name, "run as root, or with CAP_SYS_PTRACE",
			"no CAP_SYS_PTRACE, and kernel.yama.ptrace_scope is %d: other processes' memory cannot be read%s", scope, lockedText(scope))
	}
	return foundWarning(name, "run as root, or with CAP_SYS_PTRACE", "no CAP_SYS_PTRACE: only QEMUs of user %d can be reached", os.Geteuid())
}

func lockedText(scope int) string {
	if scope > ptraceAttach {
		return "; at 3 nobody can, until the host is booted with another value"
	}
	return ""
}

// checkConfinement: images can name other files and hosts, which is past what a command line can be judged for.
func checkConfinement(files, ports bool) Finding {
	const name = "confinement"
	switch {
	case !files:
		return foundWarning(name, "boot Linux 6.2 or later with Landlock (lsm=landlock,...), or trust the images: recv --unconfined",
			"this kernel cannot keep a QEMU to its files: images of formats that can lead to others (qcow2, qed) are refused here")
	case !ports:
		return foundWarning(name, "boot Linux 6.7 or later", "this kernel keeps a QEMU to its files, but not to its ports: what is in an image can make it connect")
	}
	return foundOK(name, "Landlock keeps each QEMU to its files and ports")
}

func (h checkedHost) checkReceiveBuffer(caps uint64) Finding {
	const name = "receive buffer"
	if hasCap(caps, unix.CAP_NET_ADMIN) {
		return foundOK(name, "CAP_NET_ADMIN is there: sockets get the buffers that they need")
	}
	size, err := h.number("proc/sys/net/core/rmem_max")
	switch {
	case err != nil:
		return foundWarning(name, "run with CAP_NET_ADMIN", "net.core.rmem_max: %v", err)
	case size < wantReceiveBuffer:
		return foundWarning(name, fmt.Sprintf("run with CAP_NET_ADMIN, or: sysctl -w net.core.rmem_max=%d", wantReceiveBuffer),
			"net.core.rmem_max is %d: datagrams will be lost and repaired under load", size)
	}
	return foundOK(name, "net.core.rmem_max is %d", size)
}

// checkGroups: memberships are counted per socket; what exceeds the limit goes by unicast.
func (h checkedHost) checkGroups() Finding {
	const name = "multicast groups"
	n, err := h.number(system.MembershipLimit)
	switch {
	case err != nil:
		return foundWarning(name, "mount /proc, or ignore this", "net.ipv4.igmp_max_memberships: %v", err)
	case n < 1:
		return foundWarning(name, "sysctl -w net.ipv4.igmp_max_memberships=20", "net.ipv4.igmp_max_memberships is %d: no group can be joined, all goes by unicast", n)
	}
	return foundOK(name, "net.ipv4.igmp_max_memberships is %d", n)
}

func (h checkedHost) number(path string) (int, error) { return system.ReadNumber(h.root, path) }

func readInterface(name string) (*net.Interface, []net.Addr, error) {
	i, err := net.InterfaceByName(name)
	if err != nil {
		return nil, nil, err
	}
	addrs, err := i.Addrs()
	return i, addrs, err
}

// checkInterface: groups are joined and sent to from an address of their own family; without any, group is one of IPv4.
func (h checkedHost) checkInterface(name string, group netip.Addr) Finding {
	const check = "interface"
	if !group.IsValid() {
		group = netip.IPv4Unspecified()
	}
	i, addrs, err := h.iface(name)
	switch {
	case err != nil:
		return foundError(check, "'ip link' lists the interfaces", "%s: %v", name, err)
	case i.Flags&net.FlagUp == 0:
		return foundError(check, "ip link set "+name+" up", "%s is down", name)
	case len(system.UsableAddrs(addrs, netip.IPv4Unspecified()))+len(system.UsableAddrs(addrs, netip.IPv6Unspecified())) == 0:
		return foundError(check, "give it the address at which the other hosts see this one", "%s has no address beyond the link", name)
	case len(system.UsableAddrs(addrs, group)) == 0:
		return foundWarning(check, "give it one, or use groups of its own family: --group-base 239.77.0.0, or ff15::77:0 for IPv6",
			"%s has no %s address, as the groups have", name, system.FamilyOf(group))
	case i.Flags&net.FlagMulticast == 0:
		return foundWarning(check, "ip link set "+name+" multicast on", "%s does no multicast: all goes by unicast", name)
	case i.MTU < wantMTU:
		return foundError(check, fmt.Sprintf("ip link set %s mtu 1500", name), "%s has an MTU of %d, less than %d", name, i.MTU, wantMTU)
	}
	return foundOK(check, "%s is up, does multicast, MTU %d", name, i.MTU)
}

// checkTLS loads both ends: a host may send today and receive tomorrow. An end that has no files is no fault as
// long as the other one works.
func checkTLS(dir string) []Finding {
	_, client := pki.LoadClient(dir, "any")
	_, server := pki.LoadServer(dir, nil)
	var all []Finding
	for _, end := range []struct {
		name       string
		err, other error
	}{{"send", client, server}, {"recv", server, client}} {
		check := "certificate for " + end.name
		switch {
		case end.err == nil:
			all = append(all, foundOK(check, "%s", dir))
		case end.other == nil && errors.Is(end.err, fs.ErrNotExist):
			all = append(all, foundWarning(check, "'scatter pki issue' makes both", "%v", end.err))
		default:
			all = append(all, foundError(check, "'scatter pki issue' makes one", "%v", end.err))
		}
	}
	return all
}

// checkQEMU asks every QEMU that recv would run for its version.
func (h checkedHost) checkQEMU(ctx context.Context, binary string) []Finding {
	binaries := []string{binary}
	if binary == "" {
		found, _ := fs.Glob(h.root, "usr/bin/qemu-system-*")
		binaries = binaries[:0]
		for _, f := range found {
			if to, err := fs.ReadLink(h.root, f); err == nil && !strings.Contains(to, "/") {
				continue // another name of one in the same directory
			}
			binaries = append(binaries, "/"+f)
		}
	}
	if len(binaries) == 0 {
		return []Finding{foundWarning("qemu", "install QEMU >= 9.0, or name it with --qemu", "no /usr/bin/qemu-system-*: this host can send nothing and receive only with --qemu or --launcher")}
	}
	var all []Finding
	for _, b := range binaries {
		all = append(all, h.checkBinary(ctx, b))
	}
	return all
}

func (h checkedHost) checkBinary(ctx context.Context, path string) Finding {
	check := filepath.Base(path)
	text, err := h.run(ctx, path)
	if err != nil {
		return foundError(check, "install QEMU, or name another binary", "%s: %v", path, err)
	}
	v, err := parseQEMUVersion(text)
	if err != nil {
		return foundWarning(check, "name a QEMU with --qemu", "%s: %v", path, err)
	}
	if v[0] < qemu.TCGTracksWrites[0] {
		return foundWarning(check, "upgrade to 9.0 or later; guests under KVM are not concerned",
			"%s is %d.%d: below 9.0 QEMU loses writes of emulated (TCG) guests while it migrates them", path, v[0], v[1])
	}
	return foundOK(check, "%s is %d.%d; of emulated (TCG) guests with several blocks of RAM (NUMA, memory modules) QEMU loses writes "+
		"while it migrates them: 'send' names them and wants --force", path, v[0], v[1])
}

// runVersion runs binary --version.
func runVersion(ctx context.Context, binary string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, qemuTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, binary, "--version").Output()
	return string(out), err
}

var versionPattern = regexp.MustCompile(`version ([0-9]{1,4})\.([0-9]{1,4})`)

func parseQEMUVersion(text string) (v [2]int, err error) {
	m := versionPattern.FindStringSubmatch(text)
	if m == nil {
		return v, errors.New("does not tell its version as QEMU does")
	}
	v[0], _ = strconv.Atoi(m[1])
	v[1], _ = strconv.Atoi(m[2])
	return v, nil
}
