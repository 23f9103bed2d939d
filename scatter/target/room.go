package target

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// room is what a target has left for VMs. It is guarded by its receiver's mutex.
type room struct {
	memory int64 // bytes for VMs in all; 0 = what the kernel says is available
	vcpus  int   // in all; 0 = unlimited
	used   int64
	cores  int

	touched func() int64 // what VMs that are here have in use of that, as the kernel sees it; nil: nothing
}

// hostReserve stays for the host itself when no --memory is given.
const hostReserve = 256 << 20

func (r *room) free() int64 {
	if r.memory > 0 {
		return max(0, r.memory-r.used)
	}
	// What guests have not yet touched of their RAM still counts as available for the kernel, and what they have does not.
	still := r.used
	if r.touched != nil {
		still -= r.touched()
	}
	return max(0, availableMemory()-hostReserve-still)
}

// residentMemory is what a process has in memory, in bytes; 0 if it is not there.
func residentMemory(pid int) int64 {
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

func (r *room) freeVCPUs() int {
	if r.vcpus == 0 {
		return 0
	}
	return max(0, r.vcpus-r.cores)
}

func (r *room) take(memory int64, vcpus int) error {
	if memory < 0 || vcpus < 0 {
		return fmt.Errorf("memory of %d bytes, %d vcpus", memory, vcpus)
	}
	if free := r.free(); memory > free {
		return fmt.Errorf("no room: %d MiB wanted, %d MiB free (recv --memory)", memory>>20, free>>20)
	}
	if r.vcpus > 0 && vcpus > r.freeVCPUs() {
		return fmt.Errorf("no room: %d vcpus wanted, %d free (recv --vcpus)", vcpus, r.freeVCPUs())
	}
	r.used, r.cores = r.used+memory, r.cores+vcpus
	return nil
}

func (r *room) give(memory int64, vcpus int) { r.used, r.cores = r.used-memory, r.cores-vcpus }

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
