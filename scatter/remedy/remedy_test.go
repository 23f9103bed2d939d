package remedy

import (
	"strings"
	"testing"
)

// The words are those of the launch policy, of QEMU 7.2 and 10.0, and our own. All others have a remedy, too.
func TestRemedies(t *testing.T) {
	for words, want := range map[string]string{
		`beta: QEMU does not start: qemu-system-x86_64: -drive file=/a.iso: Could not open '/a.iso': No such file or directory`:                              "--rewrite",
		`beta: disk /srv/a.qcow2 is another file here than on the source`:                                                                                    "shared",
		`beta: launch policy: -drive "file=/etc/passwd": path outside the allowed ones`:                                                                      "--allow-path",
		`beta: launch policy: -drive "file=rbd:vms/a": disk outside the allowed ones`:                                                                        "--allow-path",
		`beta: launch policy: -netdev "script=/etc/qemu-ifup": runs a program that is not allowed`:                                                           "--allow-program",
		`beta: launch policy: -netdev "type=user": needs network access from this host, which is not allowed`:                                                "--allow-network",
		`beta: launch policy: binary "/opt/qemu": not /usr/bin/qemu-system-*; name the program with --qemu`:                                                  "recv --qemu",
		`beta: launch policy: -fsdev "local,id=fs0": shares a directory of the host with the guest`:                                                          "unplug",
		`beta: launch policy: -device "driver=vfio-pci": hands a device of the host to the guest`:                                                            "unplug",
		`beta: launch policy: -device "driver=x": not known to the launch policy`:                                                                            "--launcher",
		`beta: machine type "pc-i440fx-10.0": QEMU 7.2 here does not have it`:                                                                                "QEMU",
		`beta: QEMU does not start: qemu-system-x86_64: -device igb: 'igb' is not a valid device model name`:                                                 "QEMU",
		`beta: QEMU does not start: qemu-system-x86_64: unable to find CPU model 'EPYC-Genoa'`:                                                               "CPU",
		`beta: its processor lacks flags that the VM's has: sha-ni`:                                                                                          "CPU",
		`beta: QEMU does not start: Could not access KVM kernel module: No such file or directory; failed to initialize kvm`:                                 "KVM",
		`beta: QEMU does not start: qemu-system-x86_64: -drive file=/srv/kvm/a.iso: Could not open '/srv/kvm/a.iso': No such file or directory`:              "--rewrite",
		`beta: QEMU does not start: Could not access KVM kernel module: Permission denied`:                                                                   "KVM",
		`beta: no room: 4096 MiB wanted, 12 MiB free (recv --memory)`:                                                                                        "room",
		`beta: a VM of this name is there already`:                                                                                                           "name",
		`non-migratable device: 0000:00:02.0/nvme`:                                                                                                           "unplug",
		`State blocked by non-migratable CPU device (invtsc flag)`:                                                                                           "CPU",
		`Migration is disabled when VirtFS export path '/a' is mounted in the guest using mount_tag 'x'`:                                                     "unmount",
		`beta: cannot be moved by post-copy: qmp migrate-set-capabilities: Postcopy is not supported: Userfaultfd not available: Operation not permitted`:    "/dev/userfaultfd",
		`beta: cannot be moved by post-copy: qmp migrate-set-capabilities: Postcopy is not supported: Host backend files need to be TMPFS or HUGETLBFS only`: "--mode pre",
		`something nobody has heard of`: "another target",
	} {
		if got := For(words); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %s", words, got, want)
		}
	}
}
