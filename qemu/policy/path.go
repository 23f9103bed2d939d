package policy

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// path judges the name of a file that QEMU will open, and returns its name on this host.
func path(j *judge, value string) (string, error) {
	name, err := j.localPath(value)
	if err != nil {
		return "", err
	}
	return name, j.checkPath(name, value, j.allowed())
}

// NewFile judges the name that a source has for a file which is to be made here for a QEMU to write to, and returns its name on this host.
func (p Policy) NewFile(name, runDir string) (string, error) {
	j := &judge{Policy: p, runDir: runDir, option: "new disk"}
	here, err := path(j, name)
	if err != nil {
		return "", err
	}
	return resolve(here)
}

// ReadFile is NewFile for a file that is there, and is only read.
func (p Policy) ReadFile(name, runDir string) (string, error) {
	j := &judge{Policy: p, runDir: runDir, option: "backing file"}
	here, err := readPath(j, name)
	if err != nil {
		return "", err
	}
	return resolve(here)
}

// readPath is path for a file that QEMU only reads.
func readPath(j *judge, value string) (string, error) {
	j.readOnly = true
	return path(j, value)
}

// allowed are the places of what the present option opens.
func (j *judge) allowed() []string {
	if j.readOnly {
		return slices.Concat(firmwareDirs, j.AllowPaths)
	}
	return j.AllowPaths
}

// localPath applies the rewrites and refuses names that do not say where they lead.
func (j *judge) localPath(value string) (string, error) {
	name := j.Rewrite(value)
	if !filepath.IsAbs(name) {
		return "", j.refuse(value, "not an absolute path")
	}
	if slices.Contains(strings.Split(name, "/"), "..") {
		return "", j.refuse(value, "path with ..")
	}
	return filepath.Clean(name), nil
}

// checkPath follows symbolic links and refuses what is outside the allowed places, and the run directory always: there
// lie the monitors of other VMs.
func (j *judge) checkPath(name, value string, allowed []string) error {
	real, err := resolve(name)
	if err != nil {
		return j.refuse(value, "path: "+err.Error())
	}
	runDir, err := resolve(filepath.Clean(j.runDir))
	if err != nil {
		return j.refuse(value, "run directory "+j.runDir+": "+err.Error())
	}
	if below(runDir, real) {
		return j.refuse(value, "path in the run directory")
	}
	for _, dir := range allowed {
		if !filepath.IsAbs(dir) {
			continue
		}
		realDir, err := resolve(filepath.Clean(dir))
		if err == nil && (below(realDir, real) || deviceLink(filepath.Clean(dir), name, real)) {
			return j.open(real, runDir, value)
		}
	}
	if isFirmware(real) {
		return j.refuse(value, firmwareWritten)
	}
	return j.refuse(value, "path outside the allowed ones")
}

const firmwareWritten = "is firmware of this host, which guests may only read: say readonly=on"

// open notes a file that may be opened. Firmware is only read, and a directory above the run directory leads into it.
func (j *judge) open(real, runDir, value string) error {
	switch {
	case below(real, runDir):
		return j.refuse(value, "the run directory is in it")
	case !isFirmware(real):
		j.opened = append(j.opened, real)
	case !j.readOnly:
		return j.refuse(value, firmwareWritten)
	}
	return nil
}

// isFirmware tells whether a file is one of those that come with the host.
func isFirmware(real string) bool {
	return slices.ContainsFunc(firmwareDirs, func(dir string) bool { return below(dir, real) })
}

// deviceLink tells whether a name in an allowed directory of /dev leads to another device, as /dev/vg0/disk does: such
// links are the system's own. Strangers can make links in /dev/shm and /dev/mqueue.
func deviceLink(dir, name, real string) bool {
	return below("/dev", dir) && below(dir, name) && below("/dev", real) && !below("/dev/shm", name) && !below("/dev/mqueue", name)
}

// Rewrite is the name that a source's file has here: the longest known beginning is replaced.
func (p Policy) Rewrite(name string) string {
	var best Rewrite
	for _, r := range p.Rewrites {
		if len(r.From) > len(best.From) && begins(r.From, name) {
			best = r
		}
	}
	return best.To + name[len(best.From):]
}

// begins tells whether name begins with prefix, up to the end of a path component.
func begins(prefix, name string) bool {
	rest, ok := strings.CutPrefix(name, prefix)
	return ok && (rest == "" || strings.HasSuffix(prefix, "/") || strings.HasSuffix(prefix, ":") || rest[0] == '/')
}

// below tells whether name is dir or in it. Both are clean.
func below(dir, name string) bool {
	return dir == name || begins(strings.TrimSuffix(dir, "/")+"/", name)
}

// resolve follows the symbolic links of the part of a path that exists. The end of a path may be missing, for QEMU may
// create it, but it may not be a link into nowhere.
func resolve(name string) (string, error) {
	real, err := filepath.EvalSymlinks(name)
	if err == nil {
		return real, nil
	}
	if !errors.Is(err, fs.ErrNotExist) || name == "/" {
		return "", err
	}
	if info, err := os.Lstat(name); err == nil {
		if info.Mode()&fs.ModeSymlink != 0 {
			return "", errors.New("broken symbolic link")
		}
		return filepath.EvalSymlinks(name) // it was made just now
	}
	dir, err := resolve(filepath.Dir(name))
	return filepath.Join(dir, filepath.Base(name)), err
}

var schemeRest = regexp.MustCompile(`^[A-Za-z0-9_/@-]*(\.?[A-Za-z0-9_/@-]+)*$`)

// medium judges what -drive file= takes: a disk, or nothing.
func medium(j *judge, value string) (string, error) {
	if value == "" {
		return "", nil
	}
	return disk(j, value)
}

// disk judges a path, or a name with a scheme that begins as allowed.
func disk(j *judge, value string) (string, error) {
	colon, slash := strings.IndexByte(value, ':'), strings.IndexByte(value, '/')
	if colon < 0 || (slash >= 0 && slash < colon) {
		return path(j, value)
	}
	name := j.Rewrite(value)
	for _, prefix := range j.AllowPaths {
		if strings.Contains(prefix, ":") && !filepath.IsAbs(prefix) && begins(prefix, name) && schemeRest.MatchString(name[len(prefix):]) {
			return name, nil
		}
	}
	return "", j.refuse(value, "disk outside the allowed ones")
}

// shortDisk judges the options that take a disk and nothing else.
func shortDisk(j *judge, value string) (string, error) {
	if _, err := disk(j, value); err != nil {
		return "", err
	}
	return "", j.refuse(value, noFormat)
}

const noFormat = "no format is given: QEMU would guess it from what the guest has written; say it with -drive format="

// loaded judges kernels and initial RAM disks. QEMU splits these names at commas and blanks when it loads several.
func loaded(j *judge, value string) (string, error) {
	if strings.ContainsAny(value, ", ") {
		return "", j.refuse(value, "path with comma or blank")
	}
	return readPath(j, value)
}

// pathList judges names with colons between them.
func pathList(j *judge, value string) (string, error) {
	names := strings.Split(value, ":")
	for i, name := range names {
		var err error
		if names[i], err = readPath(j, name); err != nil {
			return "", err
		}
	}
	return strings.Join(names, ":"), nil
}

// pipe judges a named pipe: QEMU opens the name with .in and .out, or the name itself.
func pipe(j *judge, value string) (string, error) {
	name, err := path(j, value)
	for _, end := range []string{".in", ".out"} {
		if err == nil {
			err = j.checkPath(name+end, value+end, j.AllowPaths)
		}
	}
	return name, err
}

// firmwareDirs hold what distributions package for QEMU to read.
var firmwareDirs = []string{
	"/usr/share/qemu", "/usr/share/seabios", "/usr/share/OVMF", "/usr/share/ovmf", "/usr/share/AAVMF", "/usr/share/edk2",
	"/usr/share/pve-edk2-firmware", "/usr/share/qemu-server", "/usr/share/edk2-ovmf", "/usr/share/ipxe", "/usr/lib/ipxe", "/usr/share/vgabios", "/usr/share/sgabios", "/usr/share/qemu-efi-aarch64",
}

// firmwareName is a file that QEMU looks up in its data directories.
var firmwareName = regexp.MustCompile(`^((bios|bios-256k|bios-microvm|kvmvapic|linuxboot|linuxboot_dma|multiboot|multiboot_dma|vgabios(-[a-z]+)*)\.bin` +
	`|(efi|pxe)-[a-z0-9]+\.rom|(qboot|pvh|sgabios)\.(rom|bin)|u-boot[a-z0-9.-]*\.bin|opensbi-[a-z0-9_-]+\.bin|edk2-[a-z0-9_-]+\.fd|OVMF\.fd)$`)

// firmware judges a file that QEMU only reads, and shows to the guest: packaged ones are fine.
func firmware(j *judge, value string) (string, error) {
	if value == "" || firmwareName.MatchString(value) {
		return value, nil
	}
	return readPath(j, value)
}

// RewriteDisk is Rewrite for what QEMU calls the file of a block node: a name, or json:{...} with names in it.
func (p Policy) RewriteDisk(name string) string {
	text, ok := strings.CutPrefix(name, "json:")
	if !ok {
		return p.Rewrite(name)
	}
	tree, err := cmdline.ParseTree(text)
	if err != nil {
		return name
	}
	err = tree.Map(func(l cmdline.Pair) (string, error) { return p.Rewrite(l.Value), nil })
	if err != nil {
		return name
	}
	if text, err = tree.Format(); err != nil {
		return name
	}
	return "json:" + text
}
