// Package confine has the kernel keep a QEMU to the files, sockets and ports that it needs: Landlock, see landlock(7).
package confine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsys "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Confinement is what the kernel lets one QEMU get at, whatever its options, its images' contents or its guest make it try: see
// landlock(7). It holds as long as the QEMU lives, and for what that starts.
type Confinement struct {
	Binary  string   // the program itself
	RunDir  string   // where it makes its sockets and its pid file
	Read    []string // files and directories that it may open and read
	Write   []string // and those that it may write, too
	Ports   []uint16 // TCP ports that it may listen at, and nothing more; not heeded if it may use the network
	Network bool     // it may use the network
	Helpers bool     // it may start the programs that the launch policy allows
}

// Possible tells whether this kernel can confine a QEMU to its files, and whether to its ports.
func Possible() (files, ports bool) {
	abi, err := llsys.LandlockGetABIVersion()
	return err == nil && abi >= 3, err == nil && abi >= 4
}

// What every QEMU reads, and starts: itself, its libraries and firmware, and what these want to know about the host. Of /proc, the kernel
// shows a confined process nothing of others that is not public.
var systemDirs = []string{"/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin", "/proc", "/sys", "/etc/qemu", "/etc/ssl", "/etc/pki", "/etc/ceph",
	"/etc/crypto-policies", "/etc/gnutls", "/etc/sasl2", "/etc/fonts", "/etc/alternatives", "/etc/ld.so.conf.d"}

var systemFiles = []string{"/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/ld.so.conf", "/etc/passwd", "/etc/group", "/etc/nsswitch.conf",
	"/etc/resolv.conf", "/etc/hosts", "/etc/host.conf", "/etc/gai.conf", "/etc/services", "/etc/localtime", "/etc/machine-id"}

// helperDirs are what the scripts of a network may need in addition.
var helperDirs = []string{"/etc", "/run", "/var/run"}

// systemDevices are devices that hand nothing of this host to the guest.
var systemDevices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/hwrng", "/dev/kvm", "/dev/ptmx", "/dev/tty",
	"/dev/net/tun", "/dev/vhost-net", "/dev/sev", "/dev/userfaultfd", "/dev/udmabuf"}

// rules are the confinement as the kernel takes it. What is not there, cannot be opened.
func (c *Confinement) rules() (config landlock.Config, rules []landlock.Rule) {
	config = landlock.V10.BestEffort()
	config.Scoped = 0
	ports := c.Ports
	if c.Network {
		config.HandledAccessNet, ports = 0, nil
	}
	add := func(r landlock.FSRule) { rules = append(rules, r.IgnoreIfMissing()) }
	add(landlock.RODirs(slices.Concat(systemDirs, prefixes(c.Binary))...))
	add(landlock.ROFiles(append(systemFiles, c.Binary)...))
	add(landlock.RWFiles(systemDevices...).WithIoctlDev())
	add(landlock.RWDirs("/dev/pts").WithIoctlDev())
	if c.Helpers {
		add(landlock.RODirs(helperDirs...).WithResolveUnix())
	}
	add(landlock.PathAccess(llsys.AccessFSMakeSock|llsys.AccessFSMakeReg|llsys.AccessFSRemoveFile|llsys.AccessFSReadDir, c.RunDir))
	for _, name := range c.Read {
		add(either(name, landlock.RODirs, landlock.ROFiles))
	}
	for _, name := range c.Write {
		add(either(name, landlock.RWDirs, landlock.RWFiles).WithIoctlDev().WithResolveUnix())
	}
	for _, port := range ports {
		rules = append(rules, landlock.BindTCP(port))
	}
	return config, rules
}

// either makes a rule for a name that may be that of a directory, or of nothing yet.
func either(name string, dir, file func(...string) landlock.FSRule) landlock.FSRule {
	if info, err := os.Stat(name); err == nil && info.IsDir() {
		return dir(name)
	}
	return file(name)
}

// prefixes are the directories that a program outside of /usr may have its libraries and firmware in.
func prefixes(binary string) []string {
	real, err := filepath.EvalSymlinks(binary)
	if err != nil {
		return nil
	}
	dir := filepath.Dir(real)
	if base := filepath.Base(dir); base == "bin" || base == "libexec" {
		return []string{filepath.Dir(dir)}
	}
	return []string{dir}
}

// MakePID makes the file for QEMU's pid, so that it alone of the run directory can be opened. Nil leaves it to QEMU.
func (c *Confinement) MakePID(name string) error {
	if c == nil {
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	c.Write = append(slices.Clip(c.Write), name)
	return f.Close()
}

// Enter confines the calling thread, and what it starts, for good: the goroutine must be locked to it and never unlock it. Where the kernel
// has no Landlock, or c is nil, nothing happens.
func (c *Confinement) Enter() error {
	if c == nil {
		return nil
	}
	config, rules := c.rules()
	fd, flags, err := config.NewRulesetFD(rules...)
	if err != nil || fd < 0 {
		return err
	}
	defer unix.Close(fd)
	if err = llsys.LandlockRestrictSelf(fd, flags); !errors.Is(err, unix.EPERM) {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil { // what goes without CAP_SYS_ADMIN
		return err
	}
	return llsys.LandlockRestrictSelf(fd, flags)
}
