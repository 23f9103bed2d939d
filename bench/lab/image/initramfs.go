package image

import (
	"bytes"
	"fmt"
	"os"
)

// File types and permissions of the archive's members, as the kernel understands them.
const (
	cpioDirectory  = 0o040755
	cpioExecutable = 0o100755
	cpioFile       = 0o100644
	cpioCharDevice = 0o020600
)

// cpioMember is one file of an archive in cpio's "newc" format, the one the kernel unpacks as its first root file system.
type cpioMember struct {
	name         string
	mode         uint32
	major, minor uint32 // of a device
	data         []byte
}

// append appends the member to b: header of 13 numbers in hexadecimal, name with a NUL, data, each padded to 4 bytes.
func (m cpioMember) append(b []byte, inode int) []byte {
	b = append(b, "070701"...)
	for _, v := range [13]uint32{
		uint32(inode), m.mode, 0, 0, 1, 0, uint32(len(m.data)), 0, 0, m.major, m.minor, uint32(len(m.name) + 1), 0,
	} {
		b = fmt.Appendf(b, "%08x", v)
	}
	b = pad4(append(append(b, m.name...), 0))
	return pad4(append(b, m.data...))
}

func pad4(b []byte) []byte { return append(b, make([]byte, -len(b)&3)...) }

// initramfs returns a root file system for the kernel that holds nothing but init, a static program, and kernel modules for it to
// load one after the other. It is not compressed: unpacking is work that an emulated processor does slowly.
func initramfs(init []byte, modules ...[]byte) []byte {
	members := []cpioMember{
		{name: "dev", mode: cpioDirectory},
		{name: "proc", mode: cpioDirectory},
		{name: "sys", mode: cpioDirectory},
		{name: "dev/console", mode: cpioCharDevice, major: 5, minor: 1},
		{name: "init", mode: cpioExecutable, data: init},
	}
	if len(modules) > 0 {
		members = append(members, cpioMember{name: "modules", mode: cpioDirectory})
	}
	for i, m := range modules {
		members = append(members, cpioMember{name: fmt.Sprintf("modules/%03d.ko", i), mode: cpioFile, data: m})
	}
	var b []byte
	for i, m := range append(members, cpioMember{name: "TRAILER!!!"}) {
		b = m.append(b, i+1)
	}
	return b
}

// writeInitramfs packs the program at init, and modules, into a root file system at path.
func writeInitramfs(path, init string, modules ...[]byte) error {
	program, err := os.ReadFile(init)
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(program, []byte("\x7fELF")) {
		return fmt.Errorf("guest program %s: not an ELF file", init)
	}
	return os.WriteFile(path, initramfs(program, modules...), 0o644)
}
