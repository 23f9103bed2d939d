package compat

// travellers are VMs whose disks are on their source alone.
func travellers() Part {
	const (
		file = "$LOCAL/a.raw"
		node = "-blockdev driver=file,node-name=f0,filename=" + file + " -blockdev driver=raw,node-name=n0,file=f0 "
		pre  = "--disks pre"
	)
	p := Part{Title: "Disks that travel", Text: "With `--disks pre`: what the VM writes to is on its source alone, and is made on the target."}
	none := []Target{{Lacks: []string{"a.raw"}}}
	add := func(name, options string) {
		p.Rows = append(p.Rows, Row{Name: "disk: " + name, Verdict: Moves, Options: options, Files: []string{file}, Targets: none, Send: pre})
	}
	refused := func(name, options, words, remedy string) {
		p.Rows = append(p.Rows, Row{Name: "disk: " + name, Verdict: Refused, Words: words, Remedy: remedy, Options: options, Files: []string{file}, Targets: none, Send: pre})
	}
	add("raw, `-drive`", "-drive if=none,id=d0,file="+file+",format=raw -device virtio-blk-pci,drive=d0")
	add("raw, `-drive` without an id", "-drive if=virtio,file="+file+",format=raw")
	add("raw, `-blockdev`", node+"-device virtio-blk-pci,drive=n0")
	add("raw, past the page cache", "-drive if=none,id=d0,file="+file+",format=raw,cache=none -device virtio-blk-pci,drive=d0")
	add("raw, with an iothread", "-object iothread,id=t0 "+node+"-device virtio-blk-pci,drive=n0,iothread=t0")
	add("raw, IDE", "-drive if=ide,file="+file+",format=raw")
	add("raw, SCSI", node+"-device virtio-scsi-pci -device scsi-hd,drive=n0")
	add("raw, AHCI", "-M q35 "+node+"-device ide-hd,drive=n0")
	add("raw, throttled", "-drive if=none,id=d0,file="+file+",format=raw,throttling.iops-total=500 -device virtio-blk-pci,drive=d0")
	p.Rows = append(p.Rows,
		Row{Name: "disk: raw, of a paused VM", Verdict: Moves, Paused: true, Options: node + "-device virtio-blk-pci,drive=n0", Files: []string{file}, Targets: none, Send: pre},
		Row{Name: "disk: two, and an ISO that every host has", Verdict: Moves, Send: pre, Files: []string{file, "$LOCAL/b.raw", "$LOCAL/a.iso"}, Targets: []Target{{Lacks: []string{"a.raw", "b.raw"}}},
			Options: node + "-device virtio-blk-pci,drive=n0 -drive if=virtio,file=$LOCAL/b.raw,format=raw -drive if=ide,media=cdrom,file=$LOCAL/a.iso,format=raw,readonly=on"},
		Row{Name: "disk: raw, QEMU 7.2", Verdict: Moves, QEMU: "7.2", Options: "-accel kvm " + node + "-device virtio-blk-pci,drive=n0", Files: []string{file},
			Targets: []Target{{QEMU: "7.2", Lacks: []string{"a.raw"}}}, Send: pre},
		Row{Name: "disk: one of two targets has a file of that name", Verdict: Moves, Lands: "target2", Options: node + "-device virtio-blk-pci,drive=n0", Files: []string{file},
			Targets: []Target{{}, {Lacks: []string{"a.raw"}}}, Send: pre, Note: "it goes to the other"},
		Row{Name: "disk: the only target has a file of that name", Verdict: Refused, Words: "is here already", Remedy: "remove", Options: node + "-device virtio-blk-pci,drive=n0",
			Files: []string{file}, Send: pre})
	p.Rows = append(p.Rows, qcow2s()...)
	p.Rows = append(p.Rows,
		Row{Name: "disk: raw, `--disks auto`", Verdict: Moves, Options: node + "-device virtio-blk-pci,drive=n0", Files: []string{file}, Targets: none, Send: "--disks auto"},
		Row{Name: "disk: raw on storage that the hosts share, `--disks auto`", Verdict: Moves, Options: "-drive if=virtio,file=$SHARED/a.raw,format=raw", Files: []string{"$SHARED/a.raw"},
			Send: "--disks auto", Note: "it does not travel"},
		Row{Name: "disk: qcow2 on storage that the hosts share, and a raw one, `--disks auto`", Verdict: Moves, Options: drive + " " + node + "-device virtio-blk-pci,drive=n0", Images: []string{image},
			Files: []string{file}, Targets: none, Send: "--disks auto", Note: "the raw one travels"},
		Row{Name: "disk: qcow2 that no target has, `--disks auto`", Verdict: Moves, Options: localDrive,
			Images: []string{"-f qcow2 $LOCAL/a.qcow2 64M"}, Targets: []Target{{Lacks: []string{"a.qcow2"}}}, Send: "--disks auto"})
	for _, c := range [][2]string{
		{"raw, `-blockdev`", node + "-device virtio-blk-pci,drive=n0"}, {"raw, `-drive` without an id", "-drive if=virtio,file=" + file + ",format=raw,cache=none"},
		{"raw, with an iothread", "-object iothread,id=t0 " + node + "-device virtio-blk-pci,drive=n0,iothread=t0"},
	} {
		p.Rows = append(p.Rows, Row{Name: "disk: " + c[0] + ", `--mode post`", Verdict: Moves, Options: c[1], Files: []string{file}, Targets: none, Send: "--disks post --mode post",
			Note: "it runs before its disk is there"})
	}
	refused("a part of its file", "-blockdev driver=file,node-name=f0,filename="+file+" -blockdev driver=raw,node-name=n0,file=f0,size=1048576 -device virtio-blk-pci,drive=n0", "a part of its file", "hosts share")
	refused("raw, and `--mode post`", node+"-device virtio-blk-pci,drive=n0", "its disks travel with it", "--mode pre")
	p.Rows[len(p.Rows)-1].Send = pre + " --mode post"
	return p
}

// qcow2s are those with such disks.
func qcow2s() (rows []Row) {
	const (
		image = "-f qcow2 $LOCAL/a.qcow2 64M"
		nodes = "-blockdev driver=file,node-name=f0,filename=$LOCAL/a.qcow2 -blockdev driver=qcow2,node-name=n0,file=f0 -device virtio-blk-pci,drive=n0"
	)
	row := func(name, options string, images ...string) Row {
		return Row{Name: "disk: " + name, Verdict: Moves, Options: options, Images: images, Targets: []Target{{Lacks: []string{"a.qcow2"}}}, Send: "--disks pre"}
	}
	refused := func(r Row, words, remedy string) Row {
		r.Verdict, r.Words, r.Remedy = Refused, words, remedy
		return r
	}
	const overlay = "-f qcow2 -b $LOCAL/base.qcow2 -F qcow2 $LOCAL/a.qcow2"
	based := row("qcow2 over a base that the target has", localDrive, "-f qcow2 $LOCAL/base.qcow2 64M", overlay)
	based.Note = "only what is its own travels"
	baseless := row("qcow2 over a base that the target has not", localDrive, "-f qcow2 $LOCAL/base.qcow2 64M", overlay)
	baseless.Targets = []Target{{Lacks: []string{"a.qcow2", "base.qcow2"}}}
	server := row("qcow2, of a QEMU with an NBD server", nodes, image)
	server.Do = []string{`nbd-server-start {"addr": {"type": "unix", "data": {"path": "$LOCAL/nbd"}}}`}
	return []Row{
		based, refused(baseless, "no backing file", "copy the backing file there"),
		row("qcow2, `-drive`", localDrive, image),
		row("qcow2, `-blockdev`", nodes, image),
		row("qcow2, past the page cache", "-drive if=virtio,file=$LOCAL/a.qcow2,format=qcow2,cache=none", image),
		row("qcow2, with an iothread", "-object iothread,id=t0 "+nodes+",iothread=t0", image),
		row("qcow2, of an old version, with small clusters", nodes, "-f qcow2 -o compat=0.10,cluster_size=512 $LOCAL/a.qcow2 64M"),
		row("qcow2, with subclusters and lazy refcounts", nodes, "-f qcow2 -o extended_l2=on,cluster_size=128k,lazy_refcounts=on,compression_type=zstd $LOCAL/a.qcow2 64M"),
		refused(row("qcow2, whose data is in another file", nodes, "-f qcow2 -o data_file=$LOCAL/a.data $LOCAL/a.qcow2 64M"), "in another file", "hosts share"),
		refused(row("qcow2, encrypted", "-object secret,id=s0,data=x -blockdev driver=file,node-name=f0,filename=$LOCAL/a.qcow2 "+
			"-blockdev driver=qcow2,node-name=n0,file=f0,encrypt.format=luks,encrypt.key-secret=s0 -device virtio-blk-pci,drive=n0",
			"--object secret,id=s0,data=x -f qcow2 -o encrypt.format=luks,encrypt.key-secret=s0 $LOCAL/a.qcow2 64M"), "it is encrypted", "hosts share"),
		refused(server, "has an NBD server already", "nbd-server-stop"),
	}
}
