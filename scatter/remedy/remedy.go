// Package remedy tells what an operator can do about what a target, or QEMU, has to say against a VM: words that come as text.
package remedy

import (
	"slices"
	"strings"
)

// remedies say what to do about words of QEMU and of launch policies, which come as text. The first that fits counts.
var remedies = []struct{ words, remedy string }{
	{"kvm kernel module", useKVM}, // before the file that does not exist
	{"failed to initialize kvm", useKVM},
	{"invalid accelerator kvm", useKVM},
	{"userfaultfd", "let QEMU's user open /dev/userfaultfd there, or set vm.unprivileged_userfaultfd=1; or move it by --mode pre, and another --on-stall than post"},
	{"cannot be moved by post-copy", "move it by --mode pre, and another --on-stall than post"},
	{"non-migratable cpu", "start the VM with a CPU model without that flag (-cpu)"},
	{"cpu model", "start the VM with a CPU model that both hosts have (-cpu), or install the source's QEMU there"},
	{"its processor lacks", "start the VM with a CPU model that both hosts have (-cpu)"},
	{"machine type", "install the source's QEMU there"},
	{"not a valid device model", "install the source's QEMU there, or unplug the device (device_del)"},
	{"no such file", "see that the target finds it: on storage that both hosts see, elsewhere by recv --rewrite, a copy if it is read-only; or let it travel (--disks pre)"},
	{"is here already", "if nobody needs it, remove it there; a disk that the hosts share does not travel (--disks none)"},
	{"backing file", "copy the backing file there as it is here (recv --rewrite says where), or have a disk without one (qemu-img rebase -b \"\")"},
	{"qcow2 images are made by", "install QEMU's tools there (qemu-utils, qemu-img)"},
	{"no space", "make room on its file system there"},
	{"another file here", "put the disk on shared storage, or let it travel (--disks pre) to where there is none; if the file is the same one all the same, use --force"},
	{"outside the allowed ones", "allow it there with recv --allow-path"},
	{"runs a program", "allow it there with recv --allow-program"},
	{"needs network", "allow it there with recv --allow-network"},
	{"name the program with --qemu", "name it there with recv --qemu"},
	{"shares a directory of the host", "unplug the device (device_del), or leave the VM out (--exclude)"},
	{"device of the host", "unplug the device (device_del), or leave the VM out (--exclude)"},
	{"launch policy", "start such VMs there by recv --launcher, or leave the VM out (--exclude)"},
	{"no room", "make room there (recv --memory, --vcpus)"},
	{"of this name is there", "give one of them another name (-name guest=), or end the one there"},
	{"non-migratable device", "unplug it (device_del), or shut the VM down and start it on the target"},
	{"mounted in the guest", "unmount it in the guest"},
}

const useKVM = "load KVM there, and let recv open /dev/kvm"

// For finds out what to do about what a target, or QEMU, has to say against a VM.
func For(words string) string {
	words = strings.ToLower(words)
	for _, r := range remedies {
		if strings.Contains(words, r.words) {
			return r.remedy
		}
	}
	return "mend it, choose another target (--to), or leave the VM out (--exclude)"
}

// ForAll are those for what several targets say, each once.
func ForAll(all []string) string {
	var out []string
	for _, words := range all {
		if r := For(words); !slices.Contains(out, r) {
			out = append(out, r)
		}
	}
	return strings.Join(out, "; ")
}
