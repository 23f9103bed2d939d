package compat

// devices are those that a VM was started with.
func devices() Part {
	p := Part{Title: "Devices and back ends", Text: "What the VM was started with."}
	add := func(name, options string) { p.Rows = append(p.Rows, Row{Name: name, Verdict: Moves, Options: options}) }
	disk := func(name, options string) {
		p.Rows = append(p.Rows, Row{Name: name, Verdict: Moves, Options: options, Images: images(image)})
	}
	d0, net := "-drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2 ", "-netdev user,id=n0,restrict=on -device "
	disk("disk: virtio-blk", d0+"-device virtio-blk-pci,drive=d0")
	disk("disk: virtio-blk with an I/O thread", d0+"-object iothread,id=io0 -device virtio-blk-pci,drive=d0,iothread=io0")
	disk("disk: virtio-scsi", d0+"-device virtio-scsi-pci -device scsi-hd,drive=d0,serial=x1")
	disk("disk: IDE (`-hda`)", "-hda $SHARED/a.qcow2")
	disk("disk: `-drive if=virtio`", "-drive if=virtio,file=$SHARED/a.qcow2,format=qcow2,cache=none,discard=unmap")
	disk("disk: AHCI", "-device ahci,id=ahci -drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2 -device ide-hd,drive=d0,bus=ahci.0")
	disk("disk: LSI SCSI", d0+"-device lsi53c895a -device scsi-hd,drive=d0")
	disk("disk: USB stick", d0+"-device qemu-xhci -device usb-storage,drive=d0")
	unmovable := func(name, words, options string) {
		p.Rows = append(p.Rows, Row{Name: name, Verdict: Refused, Words: words, Remedy: "unplug", Options: options, Images: images(image)})
	}
	unmovable("disk: NVMe", "non-migratable device: 0000:00:02.0/nvme", d0+"-device nvme,drive=d0,serial=x1")
	disk("disk: read-only", "-drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2,readonly=on -device virtio-blk-pci,drive=d0")
	disk("disk: `-blockdev` in JSON", `-blockdev {"driver":"qcow2","node-name":"n0","file":{"driver":"file","filename":"$SHARED/a.qcow2"}} -device {"driver":"virtio-blk-pci","drive":"n0","id":"disk0"}`)
	disk("disk: copy-on-read", d0[:len(d0)-1]+",copy-on-read=on -device virtio-blk-pci,drive=d0")
	disk("disk: limits of `-drive`", d0[:len(d0)-1]+",iops=100,bps_wr=1000000 -device virtio-blk-pci,drive=d0")
	p.Rows = append(p.Rows, Row{Name: "disk: chain of three images", Verdict: Moves, Options: drive, Images: images("-f qcow2 $SHARED/0.qcow2 64M",
		"-f qcow2 -b $SHARED/0.qcow2 -F qcow2 $SHARED/1.qcow2 64M", "-f qcow2 -b $SHARED/1.qcow2 -F qcow2 $SHARED/a.qcow2 64M")},
		Row{Name: "disk: raw", Verdict: Moves, Options: raw, Files: []string{"$SHARED/a.img"}},
		Row{Name: "disk: image with its data in another file", Verdict: Moves, Options: drive, Images: images("-f qcow2 -o data_file=$SHARED/a.data,data_file_raw=on $SHARED/a.qcow2 64M")},
		Row{Name: "disk: encrypted (LUKS)", Verdict: Moves, Images: images("--object secret,id=s0,data=abc -f luks -o key-secret=s0 $SHARED/a.luks 16M"),
			Options: "-object secret,id=s0,data=abc -drive if=none,id=d0,file=$SHARED/a.luks,format=luks,key-secret=s0 -device virtio-blk-pci,drive=d0"},
		Row{Name: "disk: `-snapshot`", Verdict: Refused, Words: "is gone", Remedy: "blockdev-mirror", Options: "-snapshot " + drive, Images: images(image)},
		Row{Name: "disk: file without a format", Verdict: Moves, Options: "-drive if=none,id=d0,file=$SHARED/a.qcow2 -device virtio-blk-pci,drive=d0", Images: images(image)},
		Row{Name: "CD drive with a medium", Verdict: Moves, Options: "-cdrom $LOCAL/a.iso", Files: []string{"$LOCAL/a.iso"}},
		Row{Name: "floppy drive with a medium", Verdict: Moves, Options: "-fda $SHARED/a.img", Files: []string{"$SHARED/a.img"}},
	)
	add("CD drive without a medium", "-device ide-cd")
	add("network: virtio", net+"virtio-net-pci,netdev=n0")
	add("network: e1000", net+"e1000,netdev=n0")
	add("network: e1000e", "-M q35 "+net+"e1000e,netdev=n0")
	add("network: rtl8139", net+"rtl8139,netdev=n0")
	add("network: vmxnet3", net+"vmxnet3,netdev=n0")
	add("network: `-nic user`", "-nic user,restrict=on,model=virtio-net-pci")
	add("network: virtio with queues", "-netdev tap,id=n0,script=no,downscript=no,queues=2 -device virtio-net-pci,netdev=n0,mq=on,vectors=6")
	p.Rows[len(p.Rows)-1].Needs = NeedsTap
	add("network: tap", "-netdev tap,id=n0,script=no,downscript=no -device virtio-net-pci,netdev=n0")
	p.Rows[len(p.Rows)-1].Needs = NeedsTap
	add("network: tap with vhost", "-netdev tap,id=n0,script=no,downscript=no,vhost=on -device virtio-net-pci,netdev=n0")
	p.Rows[len(p.Rows)-1].Needs = NeedsVhost
	add("network: stream socket", "-netdev stream,id=n0,server=on,addr.type=unix,addr.path=$LOCAL/net -device virtio-net-pci,netdev=n0")
	add("network: hub with two cards", "-netdev hubport,hubid=0,id=h0 -netdev hubport,hubid=0,id=h1 -device virtio-net-pci,netdev=h0 -device e1000,netdev=h1")
	add("USB: UHCI with tablet", "-usb -device usb-tablet")
	add("USB: EHCI with keyboard behind a hub", "-device usb-ehci,id=e -device usb-hub,bus=e.0,port=1 -device usb-kbd,bus=e.0,port=1.1")
	p.Rows[len(p.Rows)-1].Options = "-device piix3-usb-uhci,id=e -device usb-hub,bus=e.0,port=1 -device usb-kbd,bus=e.0,port=1.1"
	p.Rows[len(p.Rows)-1].Name = "USB: keyboard behind a hub"
	add("USB: xHCI with tablet and mouse", "-device qemu-xhci -device usb-tablet -device usb-mouse")
	add("USB: EHCI with its companions", "-device ich9-usb-ehci1,id=u,multifunction=on,addr=8.7 -device ich9-usb-uhci1,masterbus=u.0,firstport=0,multifunction=on,addr=8.0 -device usb-tablet")
	add("graphics: standard VGA", "-vga std")
	add("graphics: cirrus", "-vga cirrus")
	add("graphics: virtio-vga", "-device virtio-vga")
	add("graphics: virtio-gpu", "-device virtio-gpu-pci")
	add("graphics: bochs-display", "-device bochs-display")
	add("graphics: vmware", "-vga vmware")
	p.Rows = append(p.Rows, Row{Name: "graphics: qxl with spice", Verdict: Moves, Needs: NeedsSpice, Options: "-vga qxl -spice unix=on,addr=$LOCAL/spice,disable-ticketing=on"})
	add("graphics: VNC", "-vga std -vnc unix:$LOCAL/vnc")
	add("serial line into a file", "-chardev file,id=c0,path=$LOCAL/serial,append=on -serial chardev:c0")
	add("serial line at a socket", "-serial unix:$LOCAL/serial,server=on,wait=off")
	add("serial line at a terminal", "-serial pty")
	add("serial line into memory", "-chardev ringbuf,id=c0,size=4096 -serial chardev:c0")
	add("debug console", "-debugcon null")
	add("parallel port", "-parallel null")
	add("virtio-serial with an agent's port", "-device virtio-serial-pci -chardev socket,id=c0,path=$LOCAL/agent,server=on,wait=off -device virtserialport,chardev=c0,name=org.qemu.guest_agent.0")
	add("virtio console", "-device virtio-serial-pci -chardev null,id=c0 -device virtconsole,chardev=c0")
	add("random numbers", "-object rng-random,id=r0,filename=/dev/urandom -device virtio-rng-pci,rng=r0")
	p.Rows[len(p.Rows)-1].Targets = []Target{{Args: "--allow-path /dev/urandom"}}
	add("random numbers of QEMU's own", "-device virtio-rng-pci")
	add("balloon", "-device virtio-balloon-pci")
	add("balloon with free page reporting", "-device virtio-balloon-pci,free-page-reporting=on")
	add("keyboard and tablet of virtio", "-device virtio-keyboard-pci -device virtio-tablet-pci")
	unmovable("crypto of virtio", "non-migratable device: 0000:00:02.0/virtio-crypto", "-object cryptodev-backend-builtin,id=c0 -device virtio-crypto-pci,cryptodev=c0")
	add("pvpanic", "-device pvpanic")
	add("pvpanic as a PCI device", "-device pvpanic-pci")
	add("watchdog i6300esb", "-device i6300esb -action watchdog=reset")
	add("watchdog ib700", "-device ib700")
	add("VM generation id", "-device vmgenid,guid=324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87")
	add("sound: HDA", "-audiodev none,id=a0 -device intel-hda -device hda-duplex,audiodev=a0")
	add("sound: AC97", "-audiodev none,id=a0 -device AC97,audiodev=a0")
	unmovable("sound: virtio", "non-migratable device: 0000:00:02.0/virtio-sound", "-audiodev none,id=a0 -device virtio-sound-pci,audiodev=a0")
	add("IOMMU of Intel", "-M q35,kernel-irqchip=off -device intel-iommu")
	p.Rows[len(p.Rows)-1].Options = "-M q35 -device intel-iommu"
	add("IPMI with an emulated controller", "-device ipmi-bmc-sim,id=bmc0 -device isa-ipmi-kcs,bmc=bmc0")
	p.Rows = append(p.Rows, Row{Name: "TPM emulated by swtpm", Verdict: Moves, Needs: NeedsTPM, Note: "swtpm must wait at the same path on the target",
		Options: "-chardev socket,id=tpm0,path=$LOCAL/tpm -tpmdev emulator,id=t0,chardev=tpm0 -device tpm-tis,tpmdev=t0"})
	add("machine q35", "-M q35")
	add("machine q35 with PCIe ports", "-M q35 -device pcie-root-port,id=p1,chassis=1,slot=1 -device virtio-rng-pci,bus=p1 -device pcie-root-port,id=p2,chassis=2,slot=2")
	add("machine pc with a bridge", "-device pci-bridge,id=b1,chassis_nr=1 -device virtio-rng-pci,bus=b1,addr=1")
	add("machine isapc", "-M isapc")
	add("machine microvm", "-M microvm")
	p.Rows[len(p.Rows)-1].Restless = true
	add("machine of an older version", "-M pc-i440fx-8.2")
	add("several vCPUs", "-smp 4,sockets=2,cores=2")
	add("one vCPU (`-smp 1`)", "-smp 1")
	p.Rows[len(p.Rows)-1].VCPUs = 1
	add("real-time clock and uuid", "-rtc base=localtime -uuid 324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87")
	add("SMBIOS texts", "-smbios type=1,manufacturer=x,serial=y")
	add("fw_cfg", "-fw_cfg name=opt/org.example,string=abc")
	add("sandbox", "-sandbox on")
	add("KVM", "-accel kvm")
	add("KVM, machine q35", "-accel kvm -M q35")
	add("KVM with several vCPUs", "-accel kvm -smp 4")
	return p
}

// memories are kinds of guest memory.
func memories() Part {
	p := Part{Title: "Memory", Text: "Back ends of the guest's RAM."}
	add := func(name, options string) { p.Rows = append(p.Rows, Row{Name: name, Verdict: Moves, Options: options}) }
	add("plain", "-m 32")
	add("with room for modules", "-m 32,slots=4,maxmem=2G")
	add("memory-backend-ram", "-m 32 -object memory-backend-ram,id=m0,size=32M -M pc,memory-backend=m0")
	add("memory-backend-memfd", "-m 32 -object memory-backend-memfd,id=m0,size=32M,share=on -M pc,memory-backend=m0")
	add("memory-backend-file, shared", "-m 32 -object memory-backend-file,id=m0,size=32M,mem-path=$LOCAL/ram,share=on -M pc,memory-backend=m0")
	add("memory-backend-file, private", "-m 32 -object memory-backend-file,id=m0,size=32M,mem-path=$LOCAL/ram,share=off -M pc,memory-backend=m0")
	add("`-mem-path`", "-m 32 -mem-path $LOCAL")
	add("`-mem-prealloc`", "-m 32 -mem-prealloc")
	add("one NUMA node with its back end", "-m 32 -object memory-backend-ram,id=m0,size=32M -numa node,nodeid=0,memdev=m0")
	add("huge pages", "-m 32 -object memory-backend-memfd,id=m0,size=32M,hugetlb=on,hugetlbsize=2M -M pc,memory-backend=m0")
	p.Rows[len(p.Rows)-1].Needs = NeedsHuge
	add("more than 4 GiB (KVM)", "-m 5G -accel kvm")
	p.Rows = append(p.Rows,
		Row{Name: "NVDIMM (KVM)", Verdict: Moves, Options: "-accel kvm -M pc,nvdimm=on -m 32,slots=2,maxmem=1G -object memory-backend-file,id=m1,size=64M,mem-path=$LOCAL/nv,share=on -device nvdimm,id=nv1,memdev=m1"},
		Row{Name: "virtio-mem (KVM)", Verdict: Moves, Options: "-accel kvm -m 32,maxmem=1G -object memory-backend-ram,id=m1,size=128M -device virtio-mem-pci,id=vm1,memdev=m1,requested-size=0"},
	)
	return p
}
