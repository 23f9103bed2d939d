package rewrite

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// machineOptions are those of the machine itself: its type, accelerator and processors.
type machineOptions struct{ *rewriting }

func (m machineOptions) rewrite() {
	m.pin()
	m.processors()
}

// pin pins the machine type to its version: "pc" is another one in every QEMU. The accelerator is pinned where
// the command line leaves a choice.
func (m machineOptions) pin() {
	var last *option
	for _, o := range m.all("machine", "M") {
		if o.get("type") != "" {
			last = o
		}
	}
	switch {
	case m.inv.Machine == "":
	case last != nil && last.get("type") != m.inv.Machine:
		last.set("type", m.inv.Machine)
	case last == nil:
		o := parseOption(cmdline.Argument{Name: "machine", Value: m.inv.Machine, HasValue: true})
		m.prepend(o)
	}
	m.accelerator()
}

func (m machineOptions) accelerator() {
	is := map[bool]string{true: "kvm", false: "tcg"}[m.inv.KVM]
	for _, o := range m.all("machine", "M") {
		if strings.Contains(o.get("accel"), ":") {
			o.set("accel", is)
		}
	}
	if all := m.all("accel"); len(all) > 1 {
		for _, o := range all {
			if o.get("accel") != is {
				m.remove(o)
			}
		}
	}
}

// processors makes -smp say how many processors the machine has that were not plugged in one by one.
func (m machineOptions) processors() {
	n, last, total := 0, -1, 0
	for i, s := range m.inv.Slots {
		total += s.CPUs
		if strings.HasPrefix(s.Path, "/machine/unattached/") {
			n, last = n+s.CPUs, i
		}
	}
	all := m.all("smp")
	if n == 0 || n >= bootCPUs(all) {
		return
	}
	for _, s := range m.inv.Slots[:last] {
		if !strings.HasPrefix(s.Path, "/machine/unattached/") {
			m.cannot(fmt.Sprintf("a processor of the command line was unplugged that is not the last one (%v)", s.Place), "plug it in again (device_add)")
			return
		}
	}
	o := all[len(all)-1]
	o.set("cpus", n)
	o.set("maxcpus", total)
}

// bootCPUs is how many processors -smp makes at the start.
func bootCPUs(smp []*option) int {
	product := 1
	for _, key := range []string{"sockets", "drawers", "books", "dies", "clusters", "modules", "cores", "threads"} {
		product *= max(1, count(smp, key))
	}
	return cmp.Or(count(smp, "cpus"), count(smp, "maxcpus"), product)
}

// count is what the last of some options says for a key, 0 if none says anything.
func count(all []*option, key string) (n int) {
	for _, o := range all {
		if v, err := strconv.Atoi(o.get(key)); err == nil {
			n = v
		}
	}
	return n
}
