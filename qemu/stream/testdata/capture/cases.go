package main

import (
	"slices"
	"time"
)

// step is a monitor command.
type step struct {
	command   string
	arguments object
}

// scenario is one capture.
type scenario struct {
	name        string
	versions    []string // of QEMU that can do it; nil = all
	args        []string
	caps        []string
	params      object
	before      []step // monitor commands before the migration
	migrateArgs object
	warmup      time.Duration // the guest runs for that long first
	seabios     bool          // real firmware instead of the dirtier
	postcopy    bool          // switch to post-copy while pages are still dirty
}

func (c *scenario) fits(version string) bool {
	return c.versions == nil || slices.Contains(c.versions, version)
}

// machine returns the options of a guest of that type, with the further lists behind it.
func machine(name string, more ...[]string) []string {
	return slices.Concat(append([][]string{{"-M", name, "-vga", "none"}}, more...)...)
}

var (
	stopped = []string{"-S"}
	disk    = []string{"-blockdev", "null-co,node-name=disk,size=67108864,read-zeroes=on"}
	// devices is a choice that makes long and nested device state.
	devices = []string{
		"-device", "virtio-net-pci,romfile=,netdev=n0", "-netdev", "hubport,id=n0,hubid=0",
		"-device", "virtio-blk-pci,drive=disk",
		"-device", "virtio-balloon-pci", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-device", "e1000,romfile=,netdev=n1", "-netdev", "hubport,id=n1,hubid=0",
		"-device", "qemu-xhci", "-device", "usb-kbd", "-device", "usb-tablet",
		"-device", "virtio-scsi-pci", "-device", "intel-hda", "-audiodev", "none,id=a0", "-device", "hda-duplex,audiodev=a0",
		"-device", "isa-serial", "-device", "i6300esb", "-smp", "2",
	}
	returnPath = []string{"return-path"}
	slow       = object{"max-bandwidth": 1 << 20, "downtime-limit": 1}
)

func bitmap(name string, granularity int) step {
	return step{"block-dirty-bitmap-add", object{"node": "disk", "name": name, "granularity": granularity}}
}

func qemuIO(line string) step {
	return step{"human-monitor-command", object{"command-line": `qemu-io disk "` + line + `"`}}
}

var bitmaps = []step{
	bitmap("nightly", 65536), bitmap("weekly", 512),
	qemuIO("write 0 4k"), qemuIO("write 1M 300k"), qemuIO("write 40M 64k"),
}

var cases = []scenario{
	{name: "stopped", args: machine("pc-i440fx-7.2", stopped)},
	{name: "return-path", args: machine("pc-i440fx-7.2"), caps: returnPath},
	{name: "seabios", args: machine("pc-q35-7.2", disk, devices), caps: returnPath, seabios: true, warmup: time.Second},
	{name: "bitmaps", args: machine("pc-i440fx-7.2", disk), caps: []string{"return-path", "dirty-bitmaps"}, before: bitmaps},
	{
		name: "uuid", args: machine("pc-i440fx-7.2", stopped, []string{"-uuid", "00112233-4455-6677-8899-aabbccddeeff"}),
		caps: []string{"return-path", "validate-uuid"},
	},
	{name: "switchover", versions: []string{"10.0"}, args: machine("pc-i440fx-10.0", stopped), caps: returnPath},
	{
		name: "virtio-mem", versions: []string{"10.0"},
		args: []string{
			"-M", "pc-i440fx-10.0", "-vga", "none", "-m", "16M,maxmem=1G,slots=1",
			"-object", "memory-backend-ram,id=vm0,size=32M", "-device", "virtio-mem-pci,id=vmem,memdev=vm0,requested-size=8M,prealloc=off",
		},
		caps: returnPath,
	},
	{name: "no-description", args: machine("pc-i440fx-7.2,suppress-vmdesc=on", stopped)},
	{name: "no-footers", versions: []string{"7.2"}, args: machine("pc-i440fx-2.3", stopped)},
	{
		name: "postcopy", args: machine("pc-i440fx-7.2"), caps: []string{"return-path", "postcopy-ram"},
		params: slow, postcopy: true,
	},
	{
		name: "postcopy-bitmaps", versions: []string{"10.0"}, args: machine("pc-i440fx-10.0", disk),
		caps: []string{"return-path", "postcopy-ram", "dirty-bitmaps"}, before: bitmaps, params: slow, postcopy: true,
	},
	{name: "postcopy-unused", args: machine("pc-i440fx-7.2", stopped), caps: []string{"return-path", "postcopy-ram"}},
	{name: "refused-ignore-shared", args: machine("pc-i440fx-7.2", stopped), caps: []string{"x-ignore-shared"}},
	{
		name: "refused-xbzrle", versions: []string{"10.0"}, args: machine("pc-i440fx-7.2"), caps: []string{"return-path", "xbzrle"},
		params: object{"max-bandwidth": 4 << 20, "downtime-limit": 2},
	},
	{
		name: "refused-compress", versions: []string{"7.2"}, args: machine("pc-i440fx-7.2"),
		caps: []string{"return-path", "compress"},
	},
	{
		name: "refused-block", versions: []string{"7.2"}, args: machine("pc-i440fx-7.2", stopped, []string{
			"-blockdev", "null-co,node-name=disk,size=1048576,read-zeroes=on", "-device", "virtio-blk-pci,drive=disk",
		}),
		caps: []string{"return-path"}, migrateArgs: object{"blk": true},
	},
	{name: "refused-multifd", versions: []string{"10.0"}, args: machine("pc-i440fx-10.0"), caps: []string{"return-path", "multifd"}},
}
