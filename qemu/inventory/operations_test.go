package inventory

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// step is something that happens to a running machine.
type step func(m *machine)

func qmp(command string, a args) step { return func(m *machine) { m.t.Helper(); m.do(command, a) } }

func hmp(line string) step {
	return func(m *machine) {
		m.t.Helper()
		if text := m.human(strings.ReplaceAll(line, "DIR", m.dir)); strings.Contains(text, "rror") {
			m.t.Fatalf("%s: %s", line, text)
		}
	}
}

// jobs waits until every job is in a state.
func jobs(status string) step {
	return func(m *machine) {
		m.t.Helper()
		m.await("jobs "+status, func() bool {
			inv := m.read()
			return !slices.ContainsFunc(inv.Jobs, func(j Job) bool { return j.Status != status })
		})
	}
}

// gone waits until a device is unplugged. No guest answers here, so what waits for one is not asked.
func unplugged(id string) step {
	return func(m *machine) {
		m.t.Helper()
		m.do("device_del", args{"id": id})
		m.await("unplug "+id, func() bool {
			return !slices.ContainsFunc(m.read().Devices, func(d Device) bool { return d.ID == id || d.Path == id })
		})
	}
}

// ejected takes a device away that only the guest can let go of. Here its part is played by writing to ports, as the
// firmware's tables would have it do.
func ejected(id string, ports ...string) step {
	return func(m *machine) {
		m.t.Helper()
		m.do("device_del", args{"id": id})
		for _, p := range ports {
			for line := range strings.SplitSeq(p, ";") {
				m.human(line)
			}
		}
		m.await("unplug "+id, func() bool {
			return !slices.ContainsFunc(m.read().Devices, func(d Device) bool { return d.ID == id || d.Path == id })
		})
	}
}

func pciSlot(n int) string { return fmt.Sprintf("o /4 0xae10 0;o /4 0xae08 %d", 1<<n) }

// removedProcessor takes a processor of -smp away. QEMU cannot be asked to, the guest can do it by itself.
func removedProcessor(n int) step {
	return func(m *machine) {
		m.t.Helper()
		for _, line := range []string{"o /4 0xaf00 0", fmt.Sprint("o /4 0xaf00 ", n), "o /1 0xaf04 8"} {
			m.human(line)
		}
		m.await("unplug", func() bool { return m.read().Slots[n].Path == "" })
	}
}

// deleted waits until a node is let go of, and deletes it.
func deleted(node string) step {
	return func(m *machine) {
		m.t.Helper()
		m.await("delete "+node, func() bool { return m.try("blockdev-del", args{"node-name": node}) == nil })
	}
}

const (
	pc  = "-M pc -S -m 32,slots=4,maxmem=1G -smp 1,maxcpus=4 "
	q35 = "-M q35 -S -m 32,slots=4,maxmem=1G -smp 1,maxcpus=4 -device pcie-root-port,id=rp1,chassis=1 -device pcie-root-port,id=rp2,chassis=2 -device qemu-xhci,id=xhci "

	cards    = "-M pc -S -device e1000 -device virtio-rng-pci,id=r1 -device virtio-rng-pci -drive file=DIR/base.qcow2,if=virtio -drive file=DIR/other.qcow2,if=virtio " + `-device {"driver":"virtio-balloon-pci"}`
	memories = "-object memory-backend-ram,id=m1,size=128M -device pc-dimm,memdev=m1,id=dimm1 -object memory-backend-ram,id=m2,size=128M -device pc-dimm,memdev=m2,id=dimm2"

	format  = "-blockdev qcow2,node-name=disk0,file.driver=file,file.filename=DIR/base.qcow2,file.node-name=file0 "
	formats = `-blockdev {"driver":"file","node-name":"file0","filename":"DIR/base.qcow2","auto-read-only":true,"discard":"unmap"} -blockdev {"driver":"qcow2","node-name":"disk0","file":"file0","discard":"unmap"} `
	vd0     = "-device virtio-blk-pci,id=vd0,drive=disk0 "
)

func file(node, name string) args {
	return args{"node-name": node, "driver": "qcow2", "file": args{"driver": "file", "filename": "DIR/" + name}}
}

// operations are what operators do to running machines. Each one moves, and is on the target as it was on the source; or is
// refused with the words here, and a remedy.
var operations = []struct {
	quick   bool // done also in short tests
	name    string
	options string
	steps   []step
	refused string
}{
	{name: "as started", options: pc + "-drive file=DIR/base.qcow2,if=virtio -hda DIR/other.qcow2 -cdrom DIR/cd.iso -netdev user,id=n0 -device e1000,netdev=n0"},
	{quick: true, name: "as started by libvirt", options: q35 + formats + `-device {"driver":"virtio-blk-pci","drive":"disk0","id":"vd0","bus":"rp1","write-cache":"on"}`},

	{quick: true, name: "snapshot of a drive", options: pc + "-drive file=DIR/base.qcow2,if=virtio,id=d0,discard=unmap",
		steps: []step{qmp("blockdev-snapshot-sync", args{"device": "d0", "snapshot-file": "DIR/overlay.qcow2"})}},
	{name: "snapshot of a drive without id", options: pc + "-drive file=DIR/base.qcow2,if=virtio -hda DIR/other.qcow2",
		steps: []step{qmp("blockdev-snapshot-sync", args{"device": "ide0-hd0", "snapshot-file": "DIR/overlay.qcow2"})}},
	{name: "two snapshots of a raw disk", options: pc + "-drive file=DIR/disk.raw,format=raw,if=none,id=d0 -device ide-hd,drive=d0",
		steps: []step{qmp("blockdev-snapshot-sync", args{"device": "d0", "snapshot-file": "DIR/overlay.qcow2"}),
			qmp("blockdev-snapshot-sync", args{"device": "d0", "snapshot-file": "DIR/second.qcow2", "snapshot-node-name": "top"})}},
	{name: "snapshot of a node", options: pc + format + vd0,
		steps: []step{qmp("blockdev-snapshot-sync", args{"node-name": "disk0", "snapshot-file": "DIR/overlay.qcow2", "snapshot-node-name": "snap"})}},
	{quick: true, name: "snapshot of a node, files apart", options: pc + formats + vd0,
		steps: []step{qmp("blockdev-snapshot-sync", args{"node-name": "disk0", "snapshot-file": "DIR/overlay.qcow2", "snapshot-node-name": "snap"})}},
	{name: "snapshot into a node that was added", options: pc + formats + vd0,
		steps: []step{func(m *machine) { image(m.t, "-f", "qcow2", m.dir+"/overlay.qcow2", "16M") },
			qmp("blockdev-add", args{"node-name": "snap", "driver": "qcow2", "backing": nil, "file": args{"driver": "file", "filename": "DIR/overlay.qcow2", "node-name": "snapfile"}}),
			qmp("blockdev-snapshot", args{"node": "disk0", "overlay": "snap"})}},
	{name: "mirror with pivot", options: pc + formats + vd0,
		steps: []step{func(m *machine) { image(m.t, "-f", "qcow2", m.dir+"/copy.qcow2", "16M") },
			qmp("blockdev-add", file("copy", "copy.qcow2")), qmp("blockdev-mirror", args{"job-id": "j", "device": "disk0", "target": "copy", "sync": "full"}), jobs("ready"),
			qmp("job-complete", args{"id": "j"}), jobs("none")}},
	{name: "mirror of a drive with pivot", options: pc + "-drive file=DIR/base.qcow2,if=virtio,id=d0",
		steps: []step{qmp("drive-mirror", args{"job-id": "j", "device": "d0", "target": "DIR/copy.qcow2", "format": "qcow2", "sync": "full"}), jobs("ready"),
			qmp("job-complete", args{"id": "j"}), jobs("none")}},
	{name: "active commit with pivot", options: pc + formats + vd0,
		steps: []step{qmp("blockdev-snapshot-sync", args{"node-name": "disk0", "snapshot-file": "DIR/overlay.qcow2", "snapshot-node-name": "snap"}),
			qmp("block-commit", args{"job-id": "j", "device": "snap", "base-node": "disk0"}), jobs("ready"), qmp("job-complete", args{"id": "j"}), jobs("none")}},
	{name: "commit of the middle", options: pc + "-drive file=DIR/base.qcow2,if=virtio,id=d0",
		steps: []step{qmp("blockdev-snapshot-sync", args{"device": "d0", "snapshot-file": "DIR/middle.qcow2", "snapshot-node-name": "middle"}),
			qmp("blockdev-snapshot-sync", args{"device": "d0", "snapshot-file": "DIR/top.qcow2"}),
			qmp("block-commit", args{"job-id": "j", "device": "d0", "top-node": "middle"}), jobs("none")}},
	{name: "stream", options: pc + formats + vd0,
		steps: []step{qmp("blockdev-snapshot-sync", args{"node-name": "disk0", "snapshot-file": "DIR/overlay.qcow2", "snapshot-node-name": "snap"}),
			qmp("block-stream", args{"job-id": "j", "device": "snap"}), jobs("none")}},

	{quick: true, name: "mirror that is ready", options: pc + formats + vd0, refused: "job j: mirror is ready",
		steps: []step{func(m *machine) { image(m.t, "-f", "qcow2", m.dir+"/copy.qcow2", "16M") },
			qmp("blockdev-add", file("copy", "copy.qcow2")), qmp("blockdev-mirror", args{"job-id": "j", "device": "disk0", "target": "copy", "sync": "full"}), jobs("ready")}},
	{name: "backup that runs", options: pc + formats + vd0, refused: "job j: backup is running",
		steps: []step{func(m *machine) { image(m.t, "-f", "qcow2", m.dir+"/copy.qcow2", "16M") },
			qmp("blockdev-add", file("copy", "copy.qcow2")), qmp("blockdev-backup", args{"job-id": "j", "device": "disk0", "target": "copy", "sync": "none"})}},
	{name: "stream that is paused", options: pc + "-drive file=DIR/filled.qcow2,if=virtio,id=d0", refused: "stream is paused",
		steps: []step{qmp("blockdev-snapshot-sync", args{"device": "d0", "snapshot-file": "DIR/overlay.qcow2"}),
			qmp("block-stream", args{"job-id": "j", "device": "d0", "speed": 1}), qmp("job-pause", args{"id": "j"}), jobs("paused")}},
	{name: "commit that is ready", options: pc + formats + vd0, refused: "job j: commit is ready",
		steps: []step{qmp("blockdev-snapshot-sync", args{"node-name": "disk0", "snapshot-file": "DIR/overlay.qcow2", "snapshot-node-name": "snap"}),
			qmp("block-commit", args{"job-id": "j", "device": "snap", "base-node": "disk0"}), jobs("ready")}},
	{name: "exported by NBD", options: pc + formats + vd0, refused: "export e: node disk0 is exported (nbd)",
		steps: []step{qmp("nbd-server-start", args{"addr": args{"type": "unix", "data": args{"path": "DIR/nbd"}}}),
			qmp("block-export-add", args{"id": "e", "type": "nbd", "node-name": "disk0"})}},
	{name: "NBD server, ended", options: pc + formats + vd0,
		steps: []step{qmp("nbd-server-start", args{"addr": args{"type": "unix", "data": args{"path": "DIR/nbd"}}}),
			qmp("block-export-add", args{"id": "e", "type": "nbd", "node-name": "disk0"}), qmp("nbd-server-stop", nil)}},
	{quick: true, name: "bitmap in memory", options: pc + formats + vd0, refused: "dirty bitmap b0 of",
		steps: []step{qmp("block-dirty-bitmap-add", args{"node": "disk0", "name": "b0"})}},
	{name: "bitmap in the image", options: pc + formats + vd0,
		steps: []step{qmp("block-dirty-bitmap-add", args{"node": "disk0", "name": "b0", "persistent": true})}},
	{quick: true, name: "debugger", options: pc, refused: "a debugger may connect to", steps: []step{hmp("gdbserver unix:DIR/gdb,server=on,wait=off")}},
	{name: "debugger, ended", options: pc, steps: []step{hmp("gdbserver unix:DIR/gdb,server=on,wait=off"), hmp("gdbserver none")}},

	{name: "medium ejected", options: pc + "-drive file=DIR/cd.iso,media=cdrom,id=cd,format=raw",
		steps: []step{qmp("eject", args{"device": "cd", "force": true}), erase("cd.iso")}},
	{name: "medium ejected from -cdrom", options: pc + "-cdrom DIR/cd.iso", steps: []step{qmp("eject", args{"device": "ide1-cd0", "force": true}), erase("cd.iso")}},
	{quick: true, name: "medium changed", options: pc + "-cdrom DIR/cd.iso",
		steps: []step{qmp("blockdev-change-medium", args{"device": "ide1-cd0", "filename": "DIR/second.iso", "format": "raw"}), erase("cd.iso")}},
	{name: "medium of a node ejected", options: pc + "-blockdev raw,node-name=iso,read-only=on,file.driver=file,file.filename=DIR/cd.iso -device ide-cd,id=cd,drive=iso",
		steps: []step{qmp("blockdev-open-tray", args{"id": "cd", "force": true}), qmp("blockdev-remove-medium", args{"id": "cd"}), erase("cd.iso")}},
	{name: "medium of a node changed by name", options: pc + "-blockdev raw,node-name=iso,read-only=on,file.driver=file,file.filename=DIR/cd.iso -device virtio-scsi-pci -device scsi-cd,id=cd,drive=iso",
		steps: []step{qmp("blockdev-change-medium", args{"id": "cd", "filename": "DIR/second.iso", "format": "raw"})}},
	{name: "medium of a node changed by node", options: pc + "-blockdev raw,node-name=iso,read-only=on,file.driver=file,file.filename=DIR/cd.iso -device ide-cd,id=cd,drive=iso",
		steps: []step{qmp("blockdev-add", args{"node-name": "new", "driver": "raw", "read-only": true, "file": args{"driver": "file", "filename": "DIR/second.iso"}}),
			qmp("blockdev-open-tray", args{"id": "cd", "force": true}), qmp("blockdev-remove-medium", args{"id": "cd"}),
			qmp("blockdev-insert-medium", args{"id": "cd", "node-name": "new"}), qmp("blockdev-close-tray", args{"id": "cd"})}},
	{name: "tray open", options: pc + "-drive file=DIR/cd.iso,media=cdrom,id=cd,format=raw", steps: []step{qmp("blockdev-open-tray", args{"device": "cd", "force": true})}},
	{name: "medium put into an empty drive", options: pc + "-device ide-cd,id=cd",
		steps: []step{qmp("blockdev-change-medium", args{"id": "cd", "filename": "DIR/cd.iso", "format": "raw"})}},
	{name: "disk whose file is gone", options: pc + formats + vd0, refused: "base.qcow2 is gone", steps: []step{erase("base.qcow2")}},

	{name: "reopened read-only", options: pc + formats + "-device virtio-scsi-pci -device scsi-cd,id=c,drive=disk0",
		steps: []step{qmp("blockdev-reopen", args{"options": []any{args{"driver": "qcow2", "node-name": "disk0", "file": "file0", "read-only": true}}})}},
	{name: "reopened with other flags", options: pc + format + vd0,
		steps: []step{qmp("blockdev-reopen", args{"options": []any{args{"driver": "qcow2", "node-name": "disk0", "file": "file0", "detect-zeroes": "on", "cache": args{"no-flush": true}}}})}},
	{name: "reopened on another file", options: pc + formats + vd0,
		steps: []step{func(m *machine) { image(m.t, "-f", "qcow2", m.dir+"/new.qcow2", "16M") },
			qmp("blockdev-add", args{"node-name": "file1", "driver": "file", "filename": "DIR/new.qcow2"}),
			qmp("blockdev-reopen", args{"options": []any{args{"driver": "qcow2", "node-name": "disk0", "file": "file1"}}})}},
	{name: "copy-on-read filter put in", options: pc + formats + "-device virtio-scsi-pci,id=scsi",
		steps: []step{qmp("blockdev-add", args{"node-name": "cor", "driver": "copy-on-read", "file": "disk0"}), qmp("device_add", args{"driver": "scsi-hd", "id": "sd0", "bus": "scsi.0", "drive": "cor"})}},
	{name: "throttled drive", options: pc + "-drive file=DIR/base.qcow2,if=virtio,id=d0,bps=1000000",
		steps: []step{qmp("block_set_io_throttle", args{"device": "d0", "bps": 0, "bps_rd": 2000000, "bps_wr": 0, "iops": 100, "iops_rd": 0, "iops_wr": 0, "iops_max": 300, "group": "g"})}},
	{name: "throttling of a drive ended", options: pc + "-drive file=DIR/base.qcow2,if=virtio,id=d0,throttling.bps-total=1000000",
		steps: []step{qmp("block_set_io_throttle", args{"device": "d0", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 0, "iops_rd": 0, "iops_wr": 0})}},
	{name: "throttled drive, called by its device", options: pc + "-drive file=DIR/base.qcow2,if=none,id=d0 -device virtio-blk-pci,id=vd0,drive=d0",
		steps: []step{qmp("block_set_io_throttle", args{"id": "/machine/peripheral/vd0/virtio-backend", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 100, "iops_rd": 0, "iops_wr": 0})}},
	{name: "throttled device", options: pc + formats + vd0,
		steps: []step{qmp("block_set_io_throttle", args{"id": "/machine/peripheral/vd0/virtio-backend", "bps": 0, "bps_rd": 0, "bps_wr": 0, "iops": 100, "iops_rd": 0, "iops_wr": 0})}},
	{name: "throttled devices of a group, some without id", options: pc + formats + "-device virtio-rng-pci -device virtio-scsi-pci -device scsi-cd -device scsi-hd,drive=disk0 -blockdev qcow2,node-name=d1,file.driver=file,file.filename=DIR/other.qcow2 -device scsi-hd,drive=d1",
		steps: []step{ejected("/machine/peripheral-anon/device[0]", pciSlot(2)),
			qmp("block_set_io_throttle", args{"id": "/machine/peripheral-anon/device[3]", "group": "g", "bps": 0, "bps_rd": 1 << 20, "bps_wr": 0, "iops": 100, "iops_rd": 0, "iops_wr": 0, "iops_max": 500, "iops_max_length": 3}),
			qmp("block_set_io_throttle", args{"id": "/machine/peripheral-anon/device[4]", "group": "g", "bps": 0, "bps_rd": 1 << 20, "bps_wr": 0, "iops": 100, "iops_rd": 0, "iops_wr": 0, "iops_max": 500, "iops_max_length": 3})}},
	{name: "limits of a throttle group changed", options: pc + "-object throttle-group,id=tg,x-iops-total=100 " + formats + "-blockdev throttle,node-name=slow,throttle-group=tg,file=disk0 -device virtio-blk-pci,id=vd0,drive=slow",
		steps: []step{qmp("qom-set", args{"path": "/objects/tg", "property": "limits", "value": args{"iops-total": 500, "bps-read": 1 << 20}})}},

	{name: "PCI card plugged in and out", options: pc + "-device e1000,id=e1 -device virtio-rng-pci,id=r1 -device virtio-rng-pci",
		steps: []step{qmp("device_add", args{"driver": "e1000", "id": "e2"}), qmp("device_add", args{"driver": "virtio-rng-pci", "id": "r2", "addr": "0x10"})}},
	{quick: true, name: "network card", options: q35,
		steps: []step{qmp("netdev_add", args{"type": "user", "id": "n1", "net": "10.9.0.0/24"}),
			qmp("device_add", args{"driver": "virtio-net-pci", "id": "nic1", "netdev": "n1", "bus": "rp1", "mac": "52:54:00:00:00:77"})}},
	{name: "network taken away", options: pc + "-netdev user,id=n0", steps: []step{qmp("netdev_del", args{"id": "n0"})}},
	{name: "network that QEMU does not tell", options: pc, refused: "network n1 (stream",
		steps: []step{qmp("netdev_add", args{"type": "stream", "id": "n1", "server": true, "addr": args{"type": "unix", "path": "DIR/net"}})}},
	{name: "virtio disk", options: q35,
		steps: []step{qmp("blockdev-add", file("d1", "other.qcow2")), qmp("device_add", args{"driver": "virtio-blk-pci", "id": "vd1", "drive": "d1", "bus": "rp2", "serial": "S1"})}},
	{name: "virtio disk without id", options: q35,
		steps: []step{qmp("blockdev-add", file("d1", "other.qcow2")), qmp("device_add", args{"driver": "virtio-blk-pci", "drive": "d1", "bus": "rp2"})}},
	{name: "drive of the monitor for humans", options: pc,
		steps: []step{hmp("drive_add 0 if=none,id=h0,file=DIR/other.qcow2,format=qcow2"), qmp("device_add", args{"driver": "virtio-blk-pci", "id": "vd1", "drive": "h0"})}},
	{name: "SCSI controller with disks", options: pc,
		steps: []step{qmp("device_add", args{"driver": "virtio-scsi-pci", "id": "scsi1"}), qmp("blockdev-add", file("d1", "other.qcow2")),
			qmp("device_add", args{"driver": "scsi-hd", "id": "sd1", "bus": "scsi1.0", "drive": "d1", "serial": "XY"}), qmp("device_add", args{"driver": "scsi-cd", "id": "sd2", "bus": "scsi1.0"})}},
	{name: "SCSI disk taken away", options: pc + format + "-blockdev qcow2,node-name=d1,file.driver=file,file.filename=DIR/other.qcow2 -device virtio-scsi-pci,id=scsi0 -device scsi-hd,id=sd0,drive=disk0 -device scsi-hd,id=sd1,drive=d1",
		steps: []step{unplugged("sd0"), deleted("disk0"), erase("base.qcow2")}},
	{name: "USB devices", options: q35,
		steps: []step{qmp("device_add", args{"driver": "usb-tablet", "id": "tab", "bus": "xhci.0"}), qmp("blockdev-add", file("d1", "other.qcow2")),
			qmp("device_add", args{"driver": "usb-storage", "id": "stick", "bus": "xhci.0", "drive": "d1"}), unplugged("tab")}},
	{name: "USB device of the command line taken away", options: q35 + "-device usb-tablet,id=tab -device usb-kbd,id=kbd", steps: []step{unplugged("tab")}},
	{name: "USB controller", options: pc, steps: []step{qmp("device_add", args{"driver": "piix3-usb-uhci", "id": "usb"}), qmp("device_add", args{"driver": "usb-mouse", "id": "m", "bus": "usb.0"})}},
	{quick: true, name: "processor", options: q35, steps: []step{qmp("device_add", args{"driver": "qemu64-x86_64-cpu", "id": "cpu1", "socket-id": 0, "core-id": 1, "thread-id": 0})}},
	{name: "processors, not in a row", options: q35, steps: []step{qmp("device_add", args{"driver": "qemu64-x86_64-cpu", "id": "cpu3", "socket-id": 0, "core-id": 3, "thread-id": 0}),
		qmp("device_add", args{"driver": "qemu64-x86_64-cpu", "socket-id": 0, "core-id": 1, "thread-id": 0})}},
	{quick: true, name: "memory", options: q35,
		steps: []step{qmp("object-add", args{"qom-type": "memory-backend-ram", "id": "m1", "size": 128 << 20}), qmp("device_add", args{"driver": "pc-dimm", "id": "dimm1", "memdev": "m1"}),
			qmp("object-add", args{"qom-type": "memory-backend-memfd", "id": "m2", "size": 128 << 20, "share": true}), qmp("device_add", args{"driver": "pc-dimm", "id": "dimm2", "memdev": "m2", "slot": 3})}},
	{name: "random numbers", options: q35,
		steps: []step{qmp("object-add", args{"qom-type": "rng-random", "id": "r1", "filename": "/dev/urandom"}),
			qmp("device_add", args{"driver": "virtio-rng-pci", "id": "rng1", "rng": "r1", "bus": "rp1", "max-bytes": 1024, "period": 1000})}},
	{name: "object taken away", options: q35 + "-object rng-random,id=r1,filename=/dev/urandom", steps: []step{qmp("object-del", args{"id": "r1"})}},
	{name: "object that QEMU does not tell", options: q35, refused: "object s1 (secret)", steps: []step{qmp("object-add", args{"qom-type": "secret", "id": "s1", "data": "x"})}},
	{name: "I/O thread", options: q35,
		steps: []step{qmp("object-add", args{"qom-type": "iothread", "id": "io1"}), qmp("blockdev-add", file("d1", "other.qcow2")),
			qmp("device_add", args{"driver": "virtio-blk-pci", "id": "vd1", "drive": "d1", "bus": "rp2", "iothread": "io1"})}},
	{name: "serial port", options: pc,
		steps: []step{qmp("chardev-add", args{"id": "c1", "backend": args{"type": "null", "data": args{}}}), qmp("device_add", args{"driver": "pci-serial", "id": "ser", "chardev": "c1"})}},
	{name: "port of virtio-serial", options: pc + "-device virtio-serial-pci,id=vs0 -chardev null,id=c0 -device virtserialport,chardev=c0,name=a.b",
		steps: []step{qmp("chardev-add", args{"id": "c1", "backend": args{"type": "socket", "data": args{"addr": args{"type": "unix", "data": args{"path": "DIR/c1"}}, "server": true, "wait": false}}}),
			qmp("device_add", args{"driver": "virtserialport", "id": "vp", "chardev": "c1", "name": "org.x.y"})}},
	{name: "character device taken away", options: pc + "-chardev null,id=c0", steps: []step{qmp("chardev-remove", args{"id": "c0"})}},
	{name: "character device that QEMU does not tell", options: pc, refused: "character device c1 (file",
		steps: []step{qmp("chardev-add", args{"id": "c1", "backend": args{"type": "file", "data": args{"out": "DIR/log"}}})}},
	{name: "serial port turned to another device", options: pc + "-chardev null,id=c0 -serial chardev:c0",
		steps: []step{qmp("chardev-change", args{"id": "c0", "backend": args{"type": "socket", "data": args{"addr": args{"type": "unix", "data": args{"path": "DIR/c0"}}, "server": true, "wait": false}}})}},
	{name: "balloon device", options: q35, steps: []step{qmp("device_add", args{"driver": "virtio-balloon-pci", "id": "b", "bus": "rp1"}), qmp("balloon", args{"value": 16 << 20})}},
	{quick: true, name: "PCI card taken away", options: cards, steps: []step{ejected("r1", pciSlot(3))}},
	{name: "PCI card without id taken away", options: cards, steps: []step{ejected("/machine/peripheral-anon/device[0]", pciSlot(2))}},
	{name: "virtio disk of a drive taken away", options: cards,
		steps: []step{ejected("/machine/peripheral-anon/device[2]", pciSlot(5)), erase("base.qcow2")}},
	{name: "PCI card in another's place", options: cards, steps: []step{ejected("r1", pciSlot(3)), qmp("device_add", args{"driver": "e1000", "id": "e2"}), qmp("device_add", args{"driver": "e1000"})}},
	{name: "memory taken away", options: pc + memories,
		steps: []step{ejected("dimm1", "o /4 0xa00 0", "o /1 0xa14 8"), qmp("object-del", args{"id": "m1"})}},
	{name: "processor of the middle taken away", options: "-M pc -S -smp 3", steps: []step{removedProcessor(1)}, refused: "a processor of the command line was unplugged"},
	{name: "id that another card has by now", options: cards,
		steps: []step{ejected("r1", pciSlot(3)), qmp("device_add", args{"driver": "e1000", "id": "r1", "addr": "0x11"})}},
	{name: "network id of another network", options: pc + "-netdev user,id=n0,net=10.1.0.0/24",
		steps:   []step{qmp("netdev_del", args{"id": "n0"}), qmp("netdev_add", args{"type": "stream", "id": "n0", "server": true, "addr": args{"type": "unix", "path": "DIR/net"}})},
		refused: "network n0 (stream"},
	{name: "object id of another object", options: q35 + "-object rng-random,id=r1,filename=/dev/urandom",
		steps: []step{qmp("object-del", args{"id": "r1"}), qmp("object-add", args{"qom-type": "memory-backend-ram", "id": "r1", "size": 4 << 20})}},
	{name: "throttle group", options: pc + formats,
		steps: []step{qmp("object-add", args{"qom-type": "throttle-group", "id": "tg", "limits": args{"iops-total": 70}}),
			qmp("blockdev-add", args{"driver": "throttle", "node-name": "slow", "throttle-group": "tg", "file": "disk0"}),
			qmp("device_add", args{"driver": "virtio-blk-pci", "id": "vd1", "drive": "slow"})}},
	{name: "boot order", options: q35 + formats + vd0 + "-device virtio-net-pci,id=nic,bootindex=2",
		steps: []step{qmp("qom-set", args{"path": "/machine/peripheral/vd0", "property": "bootindex", "value": 3}),
			qmp("qom-set", args{"path": "/machine/peripheral/nic", "property": "bootindex", "value": -1})}},
	{name: "statistics of the balloon", options: q35 + "-device virtio-balloon-pci,id=b",
		steps: []step{qmp("qom-set", args{"path": "/machine/peripheral/b", "property": "guest-stats-polling-interval", "value": 5})}},
	{name: "virtio-mem resized", options: q35 + "-object memory-backend-ram,id=vm,size=256M -device virtio-mem-pci,id=vmem,memdev=vm,requested-size=64M,bus=rp1",
		steps: []step{qmp("qom-set", args{"path": "/machine/peripheral/vmem", "property": "requested-size", "value": 128 << 20})}},
	{name: "VNC password", options: pc + "-vnc 127.0.0.1:979,password=on", refused: "the password of vnc 127.0.0.1:979",
		steps: []step{qmp("set_password", args{"protocol": "vnc", "password": "x"})}},
}

// QEMU's emulator does not migrate reliably without a processor that it began with, so only the command line is looked at.
func TestProcessorsTakenAway(t *testing.T) {
	for options, want := range map[string]string{"3": "2,maxcpus=3", "3,maxcpus=5": "2,maxcpus=5", "cores=3": "cores=3,cpus=2,maxcpus=3", "cpus=3,sockets=3": "2,sockets=3,maxcpus=3"} {
		m := start(t, "-M pc -S -smp "+options)
		removedProcessor(2)(m)
		argv, findings := Command(m.read(), m.argv)
		if !slices.Contains(argv, want) || findings != nil {
			t.Errorf("%s: %q, %v", options, argv, findings)
		}
	}
}

func erase(name string) step {
	return func(m *machine) {
		m.t.Helper()
		if err := os.Remove(filepath.Join(m.dir, name)); err != nil {
			m.t.Fatal(err)
		}
	}
}

func TestOperations(t *testing.T) {
	for _, o := range operations {
		t.Run(o.name, func(t *testing.T) {
			if testing.Short() && !o.quick {
				t.Skip("one of many that take some seconds together")
			}
			t.Parallel()
			m := start(t, o.options)
			for _, s := range o.steps {
				s(m)
			}
			if o.refused == "" {
				before := m.read()
				target := m.move()
				compare(t, before, target.read())
				target.again()
				return
			}
			_, findings := Command(m.read(), m.argv)
			if len(findings) != 1 || !strings.Contains(findings[0].Problem, o.refused) || findings[0].Remedy == "" {
				t.Errorf("findings %+v, want %q", findings, o.refused)
			}
		})
	}
}

// again moves a machine that was moved once more: its command line is one that was made here.
func (m *machine) again() {
	m.t.Helper()
	argv, findings := Command(m.read(), m.argv)
	if diff := cmp.Diff(m.argv, argv); diff != "" || findings != nil {
		m.t.Errorf("the command line of the target would be changed again: %v\n%s", findings, diff)
	}
}

// compare tells what of a machine is not the same on the target.
func compare(t *testing.T, source, target *Inventory) {
	t.Helper()
	if err := compareDisks(disks(source), disks(target), func(s, t string) bool { return s == t }); err != nil {
		t.Error(err)
	}
	a, b := describe(source), describe(target)
	for _, line := range a {
		if !slices.Contains(b, line) {
			t.Errorf("only the source has %s", line)
		}
	}
	for _, line := range b {
		if !slices.Contains(a, line) {
			t.Errorf("only the target has %s", line)
		}
	}
}

// describe lists what the guest, or who works with it, can tell apart.
func describe(inv *Inventory) []string {
	all := []string{"machine " + inv.Machine}
	n := 0
	for _, s := range inv.Slots {
		all = append(all, fmt.Sprint("processor ", s.Place, s.Path != ""))
	}
	for _, d := range inv.Devices {
		name := d.ID
		if name == "" {
			n++
			name = fmt.Sprint("anonymous ", n)
		}
		all = append(all, fmt.Sprint("device ", name, " ", d.Type, " on ", d.Bus, " at ", d.Place, d.State))
	}
	for _, o := range inv.Objects {
		all = append(all, fmt.Sprint("object ", o))
	}
	for _, c := range inv.Chardevs {
		if !c.Implied() {
			all = append(all, fmt.Sprint("chardev ", c.ID, " ", c.Kind, " ", strings.TrimPrefix(c.File, "disconnected:")))
		}
	}
	for _, n := range inv.Netdevs {
		all = append(all, fmt.Sprint("network ", n))
	}
	for _, d := range inv.Drives {
		name := onTarget(inv, diskName(d))
		all = append(all, fmt.Sprint("drive ", name, d.TrayOpen, d.Removable, d.WriteBack))
		for _, k := range slices.Sorted(maps.Keys(d.Limits)) {
			all = append(all, fmt.Sprint("limit ", name, " ", inv.GroupOf(&d), " ", k, " ", d.Limits[k]))
		}
		d.Root.Find(func(n *Node) bool {
			all = append(all, fmt.Sprint("node of ", name, " ", n.File, n.Driver, n.DetectZeroes, n.NoFlush, n.Direct))
			return false
		})
	}
	return all
}
