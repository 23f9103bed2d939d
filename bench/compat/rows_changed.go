package compat

// Options that many rows have.
const (
	drive  = "-drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2 -device virtio-blk-pci,drive=d0,id=disk0"
	nodes  = "-blockdev driver=file,node-name=f0,filename=$SHARED/a.qcow2 -blockdev driver=qcow2,node-name=n0,file=f0 -device virtio-blk-pci,drive=n0,id=disk0"
	raw    = "-blockdev driver=file,node-name=f0,filename=$SHARED/a.img -blockdev driver=raw,node-name=n0,file=f0 -device virtio-blk-pci,drive=n0,id=disk0"
	cdrom  = "-drive if=none,id=c0,media=cdrom,file=$LOCAL/a.iso,format=raw -device ide-cd,drive=c0,id=cd0"
	image  = "-f qcow2 $SHARED/a.qcow2 64M"
	second = "-f qcow2 $SHARED/b.qcow2 64M"

	snapshot = `blockdev-snapshot-sync {"device": "d0", "snapshot-file": "$SHARED/b.qcow2", "format": "qcow2"}`
	addB     = `blockdev-add {"driver": "qcow2", "node-name": "n1", "file": {"driver": "file", "filename": "$SHARED/b.qcow2"}}`
)

func images(list ...string) []string { return list }

// changed are VMs that are no longer what their command line says.
func changed() Part {
	p := Part{Title: "Changed since the start", Text: "What was done to a running VM over its monitor."}
	p.Rows = append(p.Rows, diskChanges()...)
	p.Rows = append(p.Rows, busyDisks()...)
	p.Rows = append(p.Rows, media()...)
	p.Rows = append(p.Rows, plugged()...)
	p.Rows = append(p.Rows, unplugged()...)
	p.Rows = append(p.Rows, settingsChanged()...)
	return p
}

func diskChanges() []Row {
	return []Row{
		{Name: "snapshot: `blockdev-snapshot-sync` of a `-drive`", Verdict: Moves, Options: drive, Images: images(image), Do: []string{snapshot}},
		{Name: "snapshot: `blockdev-snapshot-sync` of a `-blockdev`", Verdict: Moves, Options: nodes, Images: images(image), Do: []string{
			`blockdev-snapshot-sync {"node-name": "n0", "snapshot-file": "$SHARED/b.qcow2", "format": "qcow2", "snapshot-node-name": "n1"}`}},
		{Name: "snapshot: `blockdev-snapshot` to a node that was added", Verdict: Moves, Options: nodes, Images: images(image, second), Do: []string{
			`blockdev-add {"driver": "qcow2", "node-name": "n1", "file": {"driver": "file", "filename": "$SHARED/b.qcow2"}, "backing": null}`,
			`blockdev-snapshot {"node": "n0", "overlay": "n1"}`}},
		{Name: "two snapshots, one upon the other", Verdict: Moves, Options: drive, Images: images(image), Do: []string{snapshot,
			`blockdev-snapshot-sync {"device": "d0", "snapshot-file": "$SHARED/c.qcow2", "format": "qcow2"}`}},
		{Name: "snapshot inside of the image", Verdict: Moves, Options: drive, Images: images(image), Do: []string{
			`blockdev-snapshot-internal-sync {"device": "d0", "name": "before"}`}},
		{Name: "snapshot of a raw image", Verdict: Moves, Options: raw, Files: []string{"$SHARED/a.img"}, Do: []string{
			`blockdev-snapshot-sync {"node-name": "n0", "snapshot-file": "$SHARED/b.qcow2", "format": "qcow2", "snapshot-node-name": "n1"}`}},
		{Name: "mirror to another image, pivoted: `blockdev-mirror`", Verdict: Moves, Options: nodes, Images: images(image, second), Do: []string{addB,
			`blockdev-mirror {"device": "n0", "target": "n1", "sync": "full", "job-id": "m"}`, "job: m ready", `job-complete {"id": "m"}`, "job: m gone"}},
		{Name: "the same, and the old nodes removed", Verdict: Moves, Options: nodes, Images: images(image, second), Do: []string{addB,
			`blockdev-mirror {"device": "n0", "target": "n1", "sync": "full", "job-id": "m"}`, "job: m ready", `job-complete {"id": "m"}`, "job: m gone",
			`blockdev-del {"node-name": "n0"}`, `blockdev-del {"node-name": "f0"}`}},
		{Name: "mirror to another image, pivoted: `drive-mirror`", Verdict: Moves, Options: drive, Images: images(image), Do: []string{
			`drive-mirror {"device": "d0", "target": "$SHARED/b.qcow2", "format": "qcow2", "sync": "full", "job-id": "m"}`, "job: m ready",
			`job-complete {"id": "m"}`, "job: m gone"}},
		{Name: "`block-commit` of the active image, pivoted", Verdict: Moves, Options: drive, Images: images(image), Do: []string{snapshot,
			`block-commit {"device": "d0", "job-id": "c"}`, "job: c ready", `job-complete {"id": "c"}`, "job: c gone"}},
		{Name: "`block-commit` of an image in the middle", Verdict: Moves, Options: nodes, Images: images(image), Do: []string{
			`blockdev-snapshot-sync {"node-name": "n0", "snapshot-file": "$SHARED/b.qcow2", "format": "qcow2", "snapshot-node-name": "n1"}`,
			`blockdev-snapshot-sync {"node-name": "n1", "snapshot-file": "$SHARED/c.qcow2", "format": "qcow2", "snapshot-node-name": "n2"}`,
			`block-commit {"device": "n2", "top-node": "n1", "base-node": "n0", "job-id": "c"}`, "job: c gone"}},
		{Name: "`block-stream`: the overlay stands alone", Verdict: Moves, Options: drive, Images: images(image), Do: []string{snapshot,
			`block-stream {"device": "d0", "job-id": "s"}`, "job: s gone"}},
		{Name: "`blockdev-backup` that has ended", Verdict: Moves, Note: "the backup's node stays behind", Options: nodes, Images: images(image, second), Do: []string{addB,
			`blockdev-backup {"device": "n0", "target": "n1", "sync": "full", "job-id": "b"}`, "job: b gone"}},
		{Name: "`blockdev-reopen` with `no-flush`", Verdict: Moves, Note: "flushes are done again, as the command line says", Options: nodes, Images: images(image), Do: []string{
			`blockdev-reopen {"options": [{"driver": "file", "node-name": "f0", "filename": "$SHARED/a.qcow2", "cache": {"no-flush": true}}]}`}},
		{Name: "`blockdev-reopen` with detect-zeroes", Verdict: Moves, Options: nodes, Images: images(image), Do: []string{
			`blockdev-reopen {"options": [{"driver": "qcow2", "node-name": "n0", "file": "f0", "detect-zeroes": "on"}]}`}},
		{Name: "`blockdev-reopen` of a read-only disk, to be writable", Verdict: Moves, Images: images(image),
			Options: "-blockdev driver=file,node-name=f0,filename=$SHARED/a.qcow2 -blockdev driver=qcow2,node-name=n0,file=f0,read-only=on -device virtio-blk-pci,drive=n0,id=disk0",
			Do:      []string{`blockdev-reopen {"options": [{"driver": "qcow2", "node-name": "n0", "file": "f0", "read-only": false}]}`}},
		{Name: "`block_resize`", Verdict: Moves, Options: drive, Images: images(image), Do: []string{`block_resize {"device": "d0", "size": 134217728}`}},
		{Name: "a node that no device has: `blockdev-add`", Verdict: Moves, Note: "the node stays behind", Options: nodes, Images: images(image, second), Do: []string{addB}},
		{Name: "a disk whose file was removed", Verdict: Refused, Words: "a.qcow2", Remedy: "file", Options: drive, Images: images(image), Do: []string{
			"rm: $SHARED/a.qcow2"}},
	}
}

func busyDisks() []Row {
	slow := `"speed": 1, "buf-size": 65536`
	job := func(name, id string, r Row) Row {
		r.Name, r.Verdict, r.Words, r.Remedy = name, Refused, "job "+id, "job-cancel"
		return r
	}
	return []Row{
		job("backup that runs", "b", Row{Options: raw, Files: []string{"$SHARED/a.img"}, Images: images("-f qcow2 $SHARED/b.qcow2 8M"), Do: []string{addB,
			`blockdev-backup {"device": "n0", "target": "n1", "sync": "full", "job-id": "b", "speed": 1}`, "job: b running"}}),
		job("mirror that runs", "m", Row{Options: raw, Files: []string{"$SHARED/a.img"}, Images: images("-f qcow2 $SHARED/b.qcow2 8M"), Do: []string{addB,
			`blockdev-mirror {"device": "n0", "target": "n1", "sync": "full", "job-id": "m", ` + slow + `}`, "job: m running"}}),
		job("mirror that is ready", "m", Row{Options: nodes, Images: images(image, second), Do: []string{addB,
			`blockdev-mirror {"device": "n0", "target": "n1", "sync": "full", "job-id": "m"}`, "job: m ready"}}),
		job("stream that runs", "s", Row{Options: raw, Files: []string{"$SHARED/a.img"}, Do: []string{
			`blockdev-snapshot-sync {"node-name": "n0", "snapshot-file": "$SHARED/b.qcow2", "format": "qcow2", "snapshot-node-name": "n1"}`,
			`block-stream {"device": "n1", "job-id": "s", "speed": 1}`, "job: s running"}}),
		job("commit that is ready", "c", Row{Options: drive, Images: images(image), Do: []string{snapshot,
			`block-commit {"device": "d0", "job-id": "c"}`, "job: c ready"}}),
		{Name: "dirty bitmap that is not stored in the image", Verdict: Refused, Words: "bitmap", Remedy: "block-dirty-bitmap-remove", Options: nodes, Images: images(image),
			Do: []string{`block-dirty-bitmap-add {"node": "n0", "name": "backup"}`}},
		{Name: "dirty bitmap that is stored in the image", Verdict: Moves, Options: nodes, Images: images(image),
			Do: []string{`block-dirty-bitmap-add {"node": "n0", "name": "backup", "persistent": true}`}},
		{Name: "NBD export of a disk", Verdict: Refused, Words: "export", Remedy: "block-export-del", Options: nodes, Images: images(image), Do: []string{
			`nbd-server-start {"addr": {"type": "unix", "data": {"path": "$LOCAL/nbd"}}}`,
			`block-export-add {"type": "nbd", "id": "e0", "node-name": "n0"}`}},
		{Name: "NBD server without an export", Verdict: Moves, Note: "the server does not go with it", Options: nodes, Images: images(image), Do: []string{
			`nbd-server-start {"addr": {"type": "unix", "data": {"path": "$LOCAL/nbd"}}}`}},
		{Name: "open gdbstub", Verdict: Refused, Words: "gdb", Remedy: "gdbserver none", Do: []string{"hmp: gdbserver unix:$LOCAL/gdb,server=on,wait=off"}},
		{Name: "dump of the guest's memory in progress", Verdict: Refused, Words: "dump of the guest's memory is active", Remedy: "let it end", Do: []string{"dump: pipe"}},
	}
}

func media() []Row {
	iso := []string{"$LOCAL/a.iso", "$LOCAL/b.iso"}
	return []Row{
		{Name: "another medium in a CD drive: `blockdev-change-medium`", Verdict: Moves, Options: cdrom, Files: iso, Do: []string{
			`blockdev-change-medium {"id": "cd0", "filename": "$LOCAL/b.iso", "format": "raw"}`}},
		{Name: "a medium in a CD drive that was empty", Verdict: Moves, Options: "-device ide-cd,id=cd0", Files: iso, Do: []string{
			`blockdev-change-medium {"id": "cd0", "filename": "$LOCAL/b.iso", "format": "raw"}`}},
		{Name: "a medium inserted as a node", Verdict: Moves, Options: "-device ide-cd,id=cd0", Files: iso, Do: []string{
			`blockdev-add {"driver": "raw", "node-name": "iso", "read-only": true, "file": {"driver": "file", "filename": "$LOCAL/b.iso"}}`,
			`blockdev-open-tray {"id": "cd0"}`, `blockdev-insert-medium {"id": "cd0", "node-name": "iso"}`, `blockdev-close-tray {"id": "cd0"}`}},
		{Name: "ejected ISO", Verdict: Moves, Options: cdrom, Files: iso, Do: []string{`eject {"id": "cd0"}`}},
		{Name: "ejected ISO whose file is gone", Verdict: Moves, Options: cdrom, Files: iso, Targets: []Target{{Lacks: []string{"a.iso"}}}, Do: []string{
			`eject {"id": "cd0"}`, "rm: $LOCAL/a.iso"}},
		{Name: "CD drive with an open tray", Verdict: Moves, Options: cdrom, Files: iso, Do: []string{`blockdev-open-tray {"id": "cd0"}`}},
		{Name: "ejected medium of a SCSI CD drive", Verdict: Moves, Files: iso, Do: []string{`eject {"id": "cd0"}`},
			Options: "-device virtio-scsi-pci,id=scsi -drive if=none,id=c0,media=cdrom,file=$LOCAL/a.iso,format=raw -device scsi-cd,drive=c0,id=cd0"},
		{Name: "another floppy disk", Verdict: Moves, Files: []string{"$SHARED/a.img", "$SHARED/b.img"},
			Options: "-drive if=none,id=f0,file=$SHARED/a.img,format=raw -device isa-fdc,id=fdc -device floppy,drive=f0,id=fd0",
			Do:      []string{`blockdev-change-medium {"id": "fd0", "filename": "$SHARED/b.img", "format": "raw"}`}},
	}
}

func plugged() []Row {
	return []Row{
		{Name: "plugged: vCPU", Verdict: Moves, Options: "-smp 1,sockets=4,maxcpus=4", Do: []string{
			`device_add {"driver": "qemu64-x86_64-cpu", "id": "cpu1", "socket-id": 1, "core-id": 0, "thread-id": 0}`}},
		{Name: "plugged: vCPU with a gap before it", Verdict: Moves, Options: "-smp 1,sockets=4,maxcpus=4", Do: []string{
			`device_add {"driver": "qemu64-x86_64-cpu", "id": "cpu3", "socket-id": 3, "core-id": 0, "thread-id": 0}`}},
		{Name: "plugged: memory module (KVM)", Verdict: Moves, Options: "-accel kvm -m 32,slots=2,maxmem=1G", Do: []string{
			`object-add {"qom-type": "memory-backend-ram", "id": "mem1", "size": 134217728}`, `device_add {"driver": "pc-dimm", "id": "dimm1", "memdev": "mem1"}`}},
		{Name: "plugged: network card", Verdict: Moves, Do: []string{`netdev_add {"type": "user", "id": "n0", "restrict": true}`,
			`device_add {"driver": "virtio-net-pci", "id": "nic0", "netdev": "n0", "mac": "52:54:00:01:02:03"}`}},
		{Name: "plugged: network card without id", Verdict: Moves, Do: []string{`netdev_add {"type": "user", "id": "n0", "restrict": true}`,
			`device_add {"driver": "e1000", "netdev": "n0", "mac": "52:54:00:01:02:03"}`}},
		{Name: "plugged: virtio disk", Verdict: Moves, Images: images(image), Do: []string{
			`blockdev-add {"driver": "qcow2", "node-name": "n0", "file": {"driver": "file", "filename": "$SHARED/a.qcow2"}}`,
			`device_add {"driver": "virtio-blk-pci", "id": "disk0", "drive": "n0", "serial": "abc"}`}},
		{Name: "plugged: virtio disk by `drive_add`", Verdict: Moves, Images: images(image), Do: []string{
			"hmp: drive_add 0 if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2", `device_add {"driver": "virtio-blk-pci", "id": "disk0", "drive": "d0"}`}},
		{Name: "plugged: SCSI disk", Verdict: Moves, Images: images(image), Options: "-device virtio-scsi-pci,id=scsi", Do: []string{
			`blockdev-add {"driver": "qcow2", "node-name": "n0", "file": {"driver": "file", "filename": "$SHARED/a.qcow2"}}`,
			`device_add {"driver": "scsi-hd", "id": "disk0", "drive": "n0", "bus": "scsi.0", "lun": 3}`}},
		{Name: "plugged: SCSI controller with a disk", Verdict: Moves, Images: images(image), Do: []string{
			`device_add {"driver": "virtio-scsi-pci", "id": "scsi"}`,
			`blockdev-add {"driver": "qcow2", "node-name": "n0", "file": {"driver": "file", "filename": "$SHARED/a.qcow2"}}`,
			`device_add {"driver": "scsi-hd", "id": "disk0", "drive": "n0", "bus": "scsi.0"}`}},
		{Name: "plugged: USB tablet", Verdict: Moves, Options: "-device qemu-xhci,id=usb", Do: []string{`device_add {"driver": "usb-tablet", "id": "tablet0"}`}},
		{Name: "plugged: USB keyboard without id", Verdict: Moves, Options: "-device piix3-usb-uhci,id=usb", Do: []string{`device_add {"driver": "usb-kbd"}`}},
		{Name: "plugged: USB stick", Verdict: Moves, Options: "-device qemu-xhci,id=usb", Images: images(image), Do: []string{
			`blockdev-add {"driver": "qcow2", "node-name": "n0", "file": {"driver": "file", "filename": "$SHARED/a.qcow2"}}`,
			`device_add {"driver": "usb-storage", "id": "stick", "drive": "n0"}`}},
		{Name: "plugged: serial card with its back end, a socket", Verdict: Moves, Do: []string{
			`chardev-add {"id": "c1", "backend": {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": "$LOCAL/serial"}}, "server": true, "wait": false}}}`,
			`device_add {"driver": "pci-serial", "id": "serial1", "chardev": "c1"}`}},
		{Name: "plugged: serial card with its back end, a file", Verdict: Refused, Words: "QEMU does not tell", Remedy: "chardev-remove", Do: []string{
			`chardev-add {"id": "c1", "backend": {"type": "file", "data": {"out": "$LOCAL/serial", "append": true}}}`,
			`device_add {"driver": "pci-serial", "id": "serial1", "chardev": "c1"}`}},
		{Name: "plugged: virtio port with its back end", Verdict: Moves, Options: "-device virtio-serial-pci,id=vs", Do: []string{
			`chardev-add {"id": "c1", "backend": {"type": "socket", "data": {"addr": {"type": "unix", "data": {"path": "$LOCAL/agent"}}, "server": true, "wait": false}}}`,
			`device_add {"driver": "virtserialport", "id": "port1", "bus": "vs.0", "chardev": "c1", "name": "org.example.0"}`}},
		{Name: "plugged: random numbers", Verdict: Moves, Do: []string{`object-add {"qom-type": "rng-builtin", "id": "rng1"}`,
			`device_add {"driver": "virtio-rng-pci", "id": "r1", "rng": "rng1"}`}},
		{Name: "plugged: balloon", Verdict: Moves, Do: []string{`device_add {"driver": "virtio-balloon-pci", "id": "b1"}`}},
		{Name: "plugged: watchdog", Verdict: Moves, Do: []string{`device_add {"driver": "i6300esb", "id": "w1"}`}},
		{Name: "plugged: keyboard and tablet of virtio", Verdict: Moves, Do: []string{`device_add {"driver": "virtio-keyboard-pci", "id": "k1"}`,
			`device_add {"driver": "virtio-tablet-pci", "id": "t1"}`}},
		{Name: "plugged below a PCIe port", Verdict: Moves, Options: "-M q35 -device pcie-root-port,id=port1,chassis=1,slot=1", Do: []string{
			`device_add {"driver": "virtio-rng-pci", "id": "r1", "bus": "port1"}`}},
		{Name: "plugged below a bridge", Verdict: Moves, Options: "-device pci-bridge,id=bridge1,chassis_nr=1", Do: []string{
			`device_add {"driver": "virtio-rng-pci", "id": "r1", "bus": "bridge1", "addr": "3"}`}},
		{Name: "plugged: I/O thread with a disk on it", Verdict: Moves, Images: images(image), Do: []string{`object-add {"qom-type": "iothread", "id": "io1"}`,
			`blockdev-add {"driver": "qcow2", "node-name": "n0", "file": {"driver": "file", "filename": "$SHARED/a.qcow2"}}`,
			`device_add {"driver": "virtio-blk-pci", "id": "disk0", "drive": "n0", "iothread": "io1"}`}},
		{Name: "a network back end without a card: `netdev_add`", Verdict: Moves, Do: []string{`netdev_add {"type": "user", "id": "n0", "restrict": true}`}},
	}
}

func unplugged() []Row {
	const reset = "system_reset" // ejects what waits for the guest
	return []Row{
		{Name: "unplugged: network card and its back end", Verdict: Moves, Options: "-netdev user,id=n0,restrict=on -device virtio-net-pci,netdev=n0,id=nic0", Do: []string{
			`device_del {"id": "nic0"}`, reset, "gone: nic0", "freed: virtio-net-pci.rom", `netdev_del {"id": "n0"}`}},
		{Name: "unplugged: virtio disk", Verdict: Moves, Options: nodes, Images: images(image), Do: []string{
			`device_del {"id": "disk0"}`, reset, "gone: disk0", `retry: blockdev-del {"node-name": "n0"}`, `blockdev-del {"node-name": "f0"}`}},
		{Name: "unplugged: virtio disk, and its file removed", Verdict: Moves, Options: nodes, Images: images(image), Do: []string{
			`device_del {"id": "disk0"}`, reset, "gone: disk0", `retry: blockdev-del {"node-name": "n0"}`, `blockdev-del {"node-name": "f0"}`, "rm: $SHARED/a.qcow2"}},
		{Name: "unplugged: virtio disk of a `-drive`", Verdict: Moves, Options: drive, Images: images(image), Do: []string{
			`device_del {"id": "disk0"}`, reset, "gone: disk0", "undriven: d0"}},
		{Name: "unplugged: SCSI disk", Verdict: Moves, Images: images(image), Do: []string{`device_del {"id": "disk0"}`, "gone: disk0", "undriven: d0"},
			Options: "-device virtio-scsi-pci,id=scsi -drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2 -device scsi-hd,drive=d0,id=disk0"},
		{Name: "unplugged: USB tablet", Verdict: Moves, Options: "-device qemu-xhci,id=usb -device usb-tablet,id=tablet0", Do: []string{
			`device_del {"id": "tablet0"}`, "gone: tablet0"}},
		{Name: "unplugged: virtio port and its back end", Verdict: Moves, Do: []string{`device_del {"id": "port1"}`, "gone: port1", `retry: chardev-remove {"id": "c1"}`},
			Options: "-device virtio-serial-pci,id=vs -chardev null,id=c1 -device virtserialport,id=port1,bus=vs.0,chardev=c1,name=org.example.0"},
		{Name: "unplugged: random numbers", Verdict: Moves, Options: "-object rng-builtin,id=rng1 -device virtio-rng-pci,rng=rng1,id=r1", Do: []string{
			`device_del {"id": "r1"}`, reset, "gone: r1", `object-del {"id": "rng1"}`}},
		{Name: "unplugged: vCPU (KVM)", Verdict: Moves, Note: "an emulated guest hangs in any migration then",
			Options: "-accel kvm -smp 1,sockets=2,maxcpus=2 -device qemu64-x86_64-cpu,id=cpu1,socket-id=1,core-id=0,thread-id=0", Do: []string{"hmp: o /b 0xaf00 0", `device_del {"id": "cpu1"}`, "hmp: o /w 0xaf00 1", "hmp: o /b 0xaf04 8", "gone: cpu1"}},
		{Name: "unplugged: memory module (KVM)", Verdict: Moves, Do: []string{`device_del {"id": "dimm1"}`, "hmp: o /w 0xa00 0", "hmp: o /b 0xa14 8",
			"gone: dimm1", `object-del {"id": "mem1"}`},
			Options: "-accel kvm -m 32,slots=2,maxmem=1G -object memory-backend-ram,id=mem1,size=128M -device pc-dimm,id=dimm1,memdev=mem1"},
		{Name: "unplugged: network card, and another plugged into its slot", Verdict: Moves,
			Options: "-netdev user,id=n0,restrict=on -device virtio-net-pci,netdev=n0,id=nic0,addr=5", Do: []string{
				`device_del {"id": "nic0"}`, reset, "gone: nic0", "freed: virtio-net-pci.rom", `device_add {"driver": "e1000", "netdev": "n0", "id": "nic1", "addr": "5", "mac": "52:54:00:01:02:03"}`}},
		{Name: "unplug that waits for the guest", Verdict: Moves, Note: "the guest may still let go of it on the target", Options: nodes, Images: images(image), Do: []string{
			`device_del {"id": "disk0"}`}},
	}
}

func settingsChanged() []Row {
	group := "-object throttle-group,id=g0,x-iops-total=100 -blockdev driver=file,node-name=f0,filename=$SHARED/a.qcow2 " +
		"-blockdev driver=qcow2,node-name=n0,file=f0 -blockdev driver=throttle,node-name=t0,file=n0,throttle-group=g0 -device virtio-blk-pci,drive=t0,id=disk0"
	limit := `"bps": 0, "bps_rd": 0, "bps_wr": 0, "iops_rd": 0, "iops_wr": 0, "iops": `
	nic := "-netdev user,id=n0,restrict=on -device e1000,netdev=n0,id=nic0"
	return []Row{
		{Name: "limits of a disk: `block_set_io_throttle` of a `-drive`", Verdict: Moves, Options: drive, Images: images(image), Do: []string{
			`block_set_io_throttle {"id": "/machine/peripheral/disk0/virtio-backend", ` + limit + `500}`}},
		{Name: "limits of a disk: `block_set_io_throttle` of a `-blockdev`", Verdict: Moves, Options: nodes, Images: images(image), Do: []string{
			`block_set_io_throttle {"id": "/machine/peripheral/disk0/virtio-backend", ` + limit + `500}`}},
		{Name: "limits of two disks in one group", Verdict: Moves, Images: images(image, second), Options: drive +
			" -drive if=none,id=d1,file=$SHARED/b.qcow2,format=qcow2 -device virtio-blk-pci,drive=d1,id=disk1", Do: []string{
			`block_set_io_throttle {"id": "/machine/peripheral/disk0/virtio-backend", "group": "both", ` + limit + `500}`, `block_set_io_throttle {"id": "/machine/peripheral/disk1/virtio-backend", "group": "both", ` + limit + `500}`}},
		{Name: "limits of `-drive` that were changed", Verdict: Moves, Images: images(image),
			Options: "-drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2,iops=100 -device virtio-blk-pci,drive=d0,id=disk0", Do: []string{
				`block_set_io_throttle {"id": "/machine/peripheral/disk0/virtio-backend", ` + limit + `500}`}},
		{Name: "limits of `-drive` that were taken away", Verdict: Moves, Images: images(image),
			Options: "-drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2,iops=100 -device virtio-blk-pci,drive=d0,id=disk0", Do: []string{
				`block_set_io_throttle {"id": "/machine/peripheral/disk0/virtio-backend", ` + limit + `0}`}},
		{Name: "throttle group", Verdict: Moves, Images: images(image), Options: group},
		{Name: "throttle group whose limits were changed", Verdict: Moves, Images: images(image), Options: group, Do: []string{
			`qom-set {"path": "/objects/g0", "property": "limits", "value": {"iops-total": 777}}`}},
		{Name: "write threshold of a disk", Verdict: Moves, Note: "the threshold is to be set again", Options: nodes, Images: images(image), Do: []string{
			`block-set-write-threshold {"node-name": "f0", "write-threshold": 1048576}`}},
		{Name: "link of a card is down: `set_link` of the card", Verdict: Moves, Options: nic, Do: []string{`set_link {"name": "nic0", "up": false}`}, Check: "e1000 link is not down"},
		{Name: "link of a card is down: `set_link` of the back end", Verdict: Moves, Options: nic, Do: []string{`set_link {"name": "n0", "up": false}`}, Check: "e1000 link is not down"},
		{Name: "link of a card was down and is up", Verdict: Moves, Options: nic, Do: []string{`set_link {"name": "nic0", "up": false}`, `set_link {"name": "nic0", "up": true}`},
			Check: "e1000 link is not up"},
		{Name: "balloon that is to shrink the guest", Verdict: Moves, Options: "-device virtio-balloon-pci,id=b0,disable-modern=on", Do: []string{`balloon {"value": 16777216}`},
			Check: "balloon has another aim"},
		{Name: "VNC password that was set", Verdict: Refused, Words: "QEMU does not tell it", Remedy: "password-secret", Options: "-vnc unix:$LOCAL/vnc,password=on", Do: []string{
			`set_password {"protocol": "vnc", "password": "secret"}`}},
		{Name: "VNC password out of a secret", Verdict: Moves, Options: "-object secret,id=p0,data=abc -vnc unix:$LOCAL/vnc,password-secret=p0", Check: "VNC is open"},
		{Name: "a chardev was exchanged: `chardev-change`", Verdict: Refused, Words: "QEMU does not tell", Remedy: "chardev-change", Options: "-chardev null,id=c0 -device isa-serial,chardev=c0,id=s0", Do: []string{
			`chardev-change {"id": "c0", "backend": {"type": "file", "data": {"out": "$LOCAL/serial", "append": true}}}`}},
		{Name: "an object that nothing uses: `object-add`", Verdict: Moves, Do: []string{`object-add {"qom-type": "iothread", "id": "io9"}`}},
		{Name: "a secret that was added: `object-add`", Verdict: Refused, Words: "QEMU does not tell", Remedy: "object-del", Do: []string{`object-add {"qom-type": "secret", "id": "s9", "data": "abc"}`}},
	}
}
