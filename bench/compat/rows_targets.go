package compat

// targets are VMs that not every target can have.
func targets() Part {
	old := []Target{{QEMU: "7.2"}}
	numa := "-m 64 -object memory-backend-ram,id=m0,size=32M -object memory-backend-ram,id=m1,size=32M -smp 2 -numa node,nodeid=0,memdev=m0 -numa node,nodeid=1,memdev=m1"
	dimm := "-m 32,slots=2,maxmem=1G -object memory-backend-ram,id=mem1,size=128M -device pc-dimm,id=dimm1,memdev=mem1"
	return Part{Title: "What targets lack", Text: "The plan tries the targets; a VM that one of them cannot have goes to another.", Rows: []Row{
		{Name: "disk missing on the only target", Verdict: Refused, Words: "No such file or directory", Remedy: "--rewrite", Options: localDrive, Images: images("-f qcow2 $LOCAL/a.qcow2 64M"),
			Targets: []Target{{Lacks: []string{"a.qcow2"}}}},
		{Name: "backing file missing on the only target", Verdict: Refused, Words: "No such file or directory", Remedy: "--rewrite", Options: drive,
			Images: images("-f qcow2 $LOCAL/base.qcow2 64M", "-f qcow2 -b $LOCAL/base.qcow2 -F qcow2 $SHARED/a.qcow2 64M"), Targets: []Target{{Lacks: []string{"base.qcow2"}}}},
		{Name: "ISO missing on all targets", Verdict: Refused, Words: "No such file or directory", Remedy: "--rewrite", Options: cdrom, Files: []string{"$LOCAL/a.iso"},
			Targets: []Target{{Lacks: []string{"a.iso"}}, {Lacks: []string{"a.iso"}}}},
		{Name: "ISO missing on one of two targets", Verdict: Moves, Lands: "target2", Options: cdrom, Files: []string{"$LOCAL/a.iso"},
			Targets: []Target{{Lacks: []string{"a.iso"}}, {}}, Note: "it goes to the other"},
		{Name: "ISO of which every host has a copy of its own", Verdict: Moves, Options: cdrom, Files: []string{"$LOCAL/a.iso"}},
		{Name: "writable disk of which the target has a copy of its own", Verdict: Refused, Words: "is another file here than on the source", Remedy: "shared storage", Options: localDrive,
			Images: images("-f qcow2 $LOCAL/a.qcow2 64M")},
		{Name: "disk outside of what the target allows", Verdict: Refused, Words: "/etc/", Remedy: "--allow-path", Paused: true,
			Options: "-drive if=none,id=d0,file=/etc/passwd,format=raw,readonly=on -device virtio-blk-pci,drive=d0,id=disk0"},
		{Name: "machine type of a newer QEMU than the target's (`-M pc`)", Verdict: Refused, Words: "pc-i440fx-10.0", Remedy: "QEMU", Targets: old},
		{Name: "`-M pc` of QEMU 7.2, to a newer QEMU", Verdict: Moves, QEMU: "7.2", Options: "-M pc " + kvmOnly, Note: "as pc-i440fx-7.2"},
		{Name: "`-M q35` of QEMU 7.2, to a newer QEMU", Verdict: Moves, QEMU: "7.2", Options: "-M q35 " + kvmOnly, Note: "as pc-q35-7.2"},
		{Name: "`-M pc` of QEMU 7.2, to QEMU 7.2", Verdict: Moves, QEMU: "7.2", Options: kvmOnly, Targets: old},
		{Name: "machine of QEMU 7.2 on a newer QEMU, to QEMU 7.2", Verdict: Moves, Options: "-M pc-i440fx-7.2 " + kvmOnly, Targets: old},
		{Name: "machine type that one of two targets has", Verdict: Moves, Lands: "target2", Targets: []Target{{QEMU: "7.2"}, {}}},
		{Name: "TCG of QEMU older than 9", Verdict: Refused, QEMU: "7.2", Words: "TCG", Remedy: "9",
			Note: "such a QEMU loses writes of an emulated guest while it migrates, with any tool"},
		{Name: "CPU model that the target does not know", Verdict: Refused, Words: "EPYC-Genoa", Remedy: "CPU",
			Options: "-M pc-i440fx-7.2 -cpu EPYC-Genoa", Targets: old},
		{Name: "CPU flag that the target does not have", Verdict: Refused, Words: "sha-ni", Remedy: "CPU",
			Options: "-M pc-i440fx-7.2 -cpu qemu64,+sha-ni", Targets: old},
		{Name: "CPU `max` with TCG", Verdict: Moves, Options: "-cpu max"},
		{Name: "CPU model with flags added and taken", Verdict: Moves, Options: "-cpu Nehalem,+aes,-vme"},
		{Name: "CPU `host`, to the same processor", Verdict: Moves, Options: "-accel kvm -cpu host,-arch-capabilities"},
		{Name: "KVM guest, to a host without KVM", Verdict: Refused, Words: "kvm", Remedy: "KVM", Options: "-accel kvm", Targets: []Target{{Hides: "/dev/kvm"}}},
		{Name: "device that the target's QEMU does not have", Verdict: Refused, Words: "igb", Remedy: "QEMU",
			Options: "-M pc-q35-7.2 " + kvmOnly + " -netdev user,id=n0,restrict=on -device igb,netdev=n0", Targets: old},
		{Name: "TCG with two NUMA nodes of memory", Verdict: Refused, Words: "QEMU loses writes of emulated (TCG) guests", Remedy: "--force", Options: numa},
		{Name: "TCG with a memory module", Verdict: Refused, Words: "QEMU loses writes of emulated (TCG) guests", Remedy: "--force", Options: dimm},
		{Name: "KVM with two NUMA nodes of memory", Verdict: Moves, Options: "-accel kvm " + numa},
		{Name: "KVM with a memory module", Verdict: Moves, Options: "-accel kvm " + dimm},
		{Name: "directory of the host (9p)", Verdict: Refused, Words: "shares a directory of the host", Remedy: "device", Options: "-fsdev local,id=fs0,path=$LOCAL,security_model=none -device virtio-9p-pci,fsdev=fs0,mount_tag=x"},
		{Name: "user networking where recv has no --allow-network", Verdict: Moves, Options: "-netdev user,id=n0 -device virtio-net-pci,netdev=n0", Note: "recv must have --allow-network"},
	}}
}

const (
	kvmOnly    = "-accel kvm"
	localDrive = "-drive if=none,id=d0,file=$LOCAL/a.qcow2,format=qcow2 -device virtio-blk-pci,drive=d0,id=disk0"
)

// hostsSockets are VMs beside others, found by --discover.
func hostsSockets() Part {
	good := []string{""}
	return Part{Title: "VMs that stay while others go", Text: "All of a host's monitors are found by `--discover`; another VM beside this one moves.", Rows: []Row{
		{Name: "waits for a migration itself (inmigrate)", Verdict: Stays, Words: "inmigrate", Options: "-incoming defer", Beside: good},
		{Name: "was migrated away (postmigrate)", Verdict: Stays, Words: "postmigrate", Beside: good, Do: []string{`migrate {"uri": "file:$LOCAL/state"}`, "is: postmigrate"}},
		{Name: "its monitor serves somebody else", Verdict: Stays, Words: "another client holds its monitor", Beside: good, Do: []string{"hold: monitor"}},
		{Name: "only its socket is left", Verdict: Stays, Words: "nobody listens", Beside: good, Do: []string{"kill: vm"}},
		{Name: "has a running block job", Verdict: Stays, Words: "job m", Options: nodes, Images: images(image, second), Beside: good, Do: []string{addB,
			`blockdev-mirror {"device": "n0", "target": "n1", "sync": "full", "job-id": "m"}`, "job: m ready"}},
		{Name: "has a disk that no target has", Verdict: Stays, Words: "No such file", Options: localDrive, Images: images("-f qcow2 $LOCAL/a.qcow2 64M"), Beside: good,
			Targets: []Target{{Lacks: []string{"a.qcow2"}}}},
		{Name: "`--exclude`", Verdict: Stays, Words: "vm", Beside: good, Send: "--exclude vm"},
		{Name: "a blocker and `--all-or-none`", Verdict: Refused, Words: "job m", Remedy: "job-cancel", Options: nodes, Images: images(image, second), Beside: good,
			Send: "--all-or-none", Do: []string{addB, `blockdev-mirror {"device": "n0", "target": "n1", "sync": "full", "job-id": "m"}`, "job: m ready"}},
	}}
}
