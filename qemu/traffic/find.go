package traffic

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/process"
)

const (
	maxFiles  = 1 << 16  // open files of a QEMU
	maxFdinfo = 4 << 10  // bytes that the kernel says of one
	maxNet    = 16 << 20 // bytes of a list of all network devices
)

// Find finds the taps of a QEMU whose VM has so many network cards. It is an error when there are not as many: a card may be served by something else
// (QEMU's own network, vhost-user, a device of the host that was given away), which the host does not count. Taps are taken to be in the network
// namespace of their QEMU.
func Find(pid, cards int) (*Cards, error) {
	c := &Cards{pid: pid}
	if cards == 0 {
		return c, nil
	}
	files, err := openFiles(pid)
	if err != nil {
		return nil, err
	}
	for _, fd := range files {
		t, err := tapOf(pid, fd)
		if err != nil {
			return nil, err
		}
		if t.name != "" && !slices.Contains(c.taps, t) { // each queue has a file
			c.taps = append(c.taps, t)
		}
	}
	if len(c.taps) != cards {
		return nil, fmt.Errorf("process %d: %d network cards, %d taps", pid, cards, len(c.taps))
	}
	return c, nil
}

// openFiles lists the numbers of the files that a process has open.
func openFiles(pid int) ([]string, error) {
	d, err := os.Open(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return nil, err
	}
	defer d.Close()
	files, err := d.Readdirnames(maxFiles + 1)
	if err != nil && err != io.EOF {
		return nil, err
	}
	if len(files) > maxFiles {
		return nil, fmt.Errorf("process %d has more than %d files open", pid, maxFiles)
	}
	return files, nil
}

// tapOf is the tap that an open file is a queue of; one without a name if it is something else, or is closed by now.
func tapOf(pid int, fd string) (tap, error) {
	file := fmt.Sprintf("/proc/%d/fd/%s", pid, fd)
	link, err := os.Readlink(file)
	if err != nil {
		return tap{}, nil
	}
	if path.Base(link) == "tun" {
		info, _ := process.ReadFile(pid, "fdinfo/"+fd, maxFdinfo)
		return tap{name: deviceOf(string(info))}, nil
	}
	index, ok := indexOf(link)
	if !ok || !isDevice(file) {
		return tap{}, nil
	}
	list, err := process.ReadFile(pid, "net/dev_mcast", maxNet)
	if err != nil {
		return tap{}, err
	}
	return tap{name: nameOf(string(list), index), near: true}, nil
}

// isDevice tells whether a file is a device: one of that name may be anything.
func isDevice(file string) bool {
	info, err := os.Stat(file)
	return err == nil && info.Mode()&fs.ModeCharDevice != 0
}

// deviceOf is the device of an open /dev/net/tun, by what the kernel says of that file; "" if it has none.
func deviceOf(fdinfo string) string {
	for line := range strings.Lines(fdinfo) {
		if name, ok := strings.CutPrefix(line, "iff:\t"); ok {
			return strings.TrimSuffix(name, "\n")
		}
	}
	return ""
}

// indexOf is the number of the network device that a macvtap's or ipvtap's file, /dev/tapN, is of.
func indexOf(link string) (int, bool) {
	number, ok := strings.CutPrefix(path.Base(link), "tap")
	n, err := strconv.Atoi(number)
	return n, ok && err == nil && n > 0
}

// nameOf is the name of a network device by a list of what devices listen to, which has all that are up (the one that names both); "" if it is not
// there.
func nameOf(list string, index int) string {
	for line := range strings.Lines(list) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == strconv.Itoa(index) {
			return f[1]
		}
	}
	return ""
}
