package compat

// postCopies are VMs that take over on their targets before their memory is there.
func postCopies() Part {
	p := Part{Title: "Post-copy", Text: "With `--mode post`: the VM runs on its target before its memory is there."}
	add := func(name, options string) {
		p.Rows = append(p.Rows, Row{Name: "post-copy: " + name, Verdict: Moves, Options: options, Send: "--mode post"})
	}
	refused := func(name, options, words string, needs Need) {
		p.Rows = append(p.Rows, Row{Name: "post-copy: " + name, Verdict: Refused, Options: options, Send: "--mode post", Words: words, Remedy: "--mode pre", Needs: needs})
	}
	const image = "-f qcow2 $SHARED/a.qcow2 64M"
	add("emulated", "")
	add("KVM", "-accel kvm")
	add("KVM, machine q35, several vCPUs", "-accel kvm -M q35 -smp 4")
	add("KVM, more memory than the guest has touched", "-accel kvm -m 1G")
	p.Rows = append(p.Rows, Row{Name: "post-copy: KVM, virtio disk", Verdict: Moves, Options: "-accel kvm -drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2 -device virtio-blk-pci,drive=d0",
		Images: []string{image}, Send: "--mode post"})
	add("network card and graphics", "-nic user,restrict=on,model=virtio-net-pci -vga std")
	add("KVM, memory-backend-memfd", "-accel kvm -m 32 -object memory-backend-memfd,id=m0,size=32M,share=on -M pc,memory-backend=m0")
	p.Rows = append(p.Rows, Row{Name: "post-copy: paused VM", Verdict: Moves, Paused: true, Send: "--mode post"},
		Row{Name: "post-copy: hybrid", Verdict: Moves, Options: "-accel kvm", Send: "--mode hybrid"},
		Row{Name: "post-copy: capability `postcopy-ram` was on", Verdict: Moves, Send: "--mode post", Do: []string{
			`migrate-set-capabilities {"capabilities": [{"capability": "postcopy-ram", "state": true}]}`}})
	refused("memory in a file on a disk", "-m 32 -object memory-backend-file,id=m0,size=32M,mem-path=$LOCAL/ram,share=off -M pc,memory-backend=m0", "cannot be moved by post-copy", NeedsNothing)
	refused("huge pages", "-m 32 -object memory-backend-memfd,id=m0,size=32M,hugetlb=on,hugetlbsize=2M -M pc,memory-backend=m0", "huge pages", NeedsHuge)
	p.Rows = append(p.Rows, Row{Name: "post-copy: QEMU 7.2", Verdict: Refused, QEMU: "7.2", Options: "-accel kvm", Targets: []Target{{QEMU: "7.2"}}, Send: "--mode post",
		Words: "does not tell where ram block", Remedy: "--mode pre"})
	return p
}
