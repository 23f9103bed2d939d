package bounds

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Room is what a target has left for VMs. Its methods are not safe for concurrent use.
type Room struct {
	Memory int64 // bytes for VMs in all; 0 = what the kernel says is available
	VCPUs  int   // in all; 0 = unlimited
	Used   int64 // bytes
	Cores  int   // vCPUs

	Touched func() int64 // what VMs that are here have in use of that, as the kernel sees it; nil: nothing
}

// hostReserve stays for the host itself when no --memory is given.
const hostReserve = 256 << 20

// Free is how many bytes are left.
func (r *Room) Free() int64 {
	if r.Memory > 0 {
		return max(0, r.Memory-r.Used)
	}
	// What guests have not yet touched of their RAM still counts as available for the kernel, and what they have does not.
	still := r.Used
	if r.Touched != nil {
		still -= r.Touched()
	}
	return max(0, availableMemory()-hostReserve-still)
}

// ResidentMemory is what a process has in memory, in bytes; 0 if it is not there.
func ResidentMemory(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(b), &size, &resident); err != nil {
		return 0
	}
	return resident * int64(os.Getpagesize())
}

// FreeVCPUs is how many vCPUs are left; 0 where there is no limit, too.
func (r *Room) FreeVCPUs() int {
	if r.VCPUs == 0 {
		return 0
	}
	return max(0, r.VCPUs-r.Cores)
}

// Take takes room for a VM, or says that there is none.
func (r *Room) Take(memory int64, vcpus int) error {
	if memory < 0 || vcpus < 0 {
		return fmt.Errorf("memory of %d bytes, %d vcpus", memory, vcpus)
	}
	if free := r.Free(); memory > free {
		return fmt.Errorf("no room: %d MiB wanted, %d MiB free (recv --memory)", memory>>20, free>>20)
	}
	if r.VCPUs > 0 && vcpus > r.FreeVCPUs() {
		return fmt.Errorf("no room: %d vcpus wanted, %d free (recv --vcpus)", vcpus, r.FreeVCPUs())
	}
	r.Used, r.Cores = r.Used+memory, r.Cores+vcpus
	return nil
}

// Give gives back what Take has taken.
func (r *Room) Give(memory int64, vcpus int) { r.Used, r.Cores = r.Used-memory, r.Cores-vcpus }

// availableMemory is MemAvailable of procfs in bytes, 0 when it cannot be read.
func availableMemory() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "MemAvailable:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil {
				return kb << 10
			}
		}
	}
	return 0
}
