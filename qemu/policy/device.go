package policy

import (
	"context"
	"regexp"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// guestDevices are the devices that a target may have: such as consist of nothing but emulation, and take what they
// need of the host from a back end that was judged. Devices of the host, handed to the guest, are not among them; they
// could not migrate either.
const guestDevices = `
	e1000 e1000-82544gc e1000-82545em e1000e igb rtl8139 ne2k_pci ne2k_isa pcnet tulip vmxnet3
	i82550 i82551 i82557a i82557b i82557c i82558a i82558b i82559a i82559b i82559c i82559er i82562 i82801 usb-net

	ide-hd ide-cd ide-cf scsi-hd scsi-cd floppy usb-storage usb-uas usb-bot nvme nvme-ns nvme-subsys sd-card
	piix3-ide piix4-ide ich9-ahci ahci isa-ide isa-fdc lsi53c810 lsi53c895a am53c974 dc390 megasas megasas-gen2
	mptsas1068 pvscsi sdhci-pci

	pc-dimm nvdimm virtio-mem virtio-pmem

	pci-bridge pcie-root-port ioh3420 x3130-upstream xio3130-downstream pcie-pci-bridge i82801b11-bridge pxb pxb-pcie

	VGA secondary-vga isa-vga cirrus-vga isa-cirrus-vga bochs-display ramfb qxl qxl-vga vmware-svga virtio-vga virtio-vga-gl
	virtio-gpu-gl-pci vhost-user-vga

	piix3-usb-uhci piix4-usb-uhci ich9-usb-ehci1 ich9-usb-ehci2 ich9-usb-uhci1 ich9-usb-uhci2 ich9-usb-uhci3 ich9-usb-uhci4
	ich9-usb-uhci5 ich9-usb-uhci6 usb-ehci pci-ohci nec-usb-xhci qemu-xhci usb-hub usb-kbd usb-mouse usb-tablet
	usb-wacom-tablet usb-serial usb-redir usb-ccid ccid-card-passthru usb-audio

	isa-serial pci-serial pci-serial-2x pci-serial-4x isa-parallel isa-debugcon virtconsole virtserialport

	AC97 ES1370 intel-hda ich9-intel-hda hda-duplex hda-micro hda-output sb16 cs4231a gus adlib

	tpm-tis-device spapr-vscsi spapr-vlan sclpconsole sclplmconsole

	i6300esb ib700 pvpanic pvpanic-pci isa-debug-exit vmcoreinfo vmgenid intel-iommu amd-iommu AMDVI-PCI
	tpm-crb tpm-tis i8042 vmmouse hyperv-synic hv-balloon ipmi-bmc-sim ipmi-bmc-extern isa-ipmi-kcs isa-ipmi-bt pci-ipmi-kcs pci-ipmi-bt
	virtio-iommu-pci virtio-iommu
`

// virtioDevices come with several buses each.
const virtioDevices = `
	virtio-net virtio-blk virtio-scsi virtio-rng virtio-balloon virtio-serial virtio-gpu virtio-keyboard virtio-mouse
	virtio-tablet virtio-multitouch virtio-crypto virtio-iommu virtio-mem virtio-pmem virtio-sound virtio-input
	vhost-vsock vhost-user-blk vhost-user-scsi vhost-user-fs vhost-user-gpu vhost-user-input vhost-user-rng vhost-user-snd vhost-user-vsock
`

const virtioBuses = "-pci -pci-transitional -pci-non-transitional -device -ccw"

// deviceKeys are the properties of devices that are not plain. Those of them that only refused devices have are here
// because -global could set them all the same.
var deviceKeys = allow(never(noFiles), "fd fds fds.* vhostfd vhostfds vhostfds.* ebpf-rss-fds ebpf-rss-fds.*").with(
	allow(never("opens a file or device of the host"), `pcap cdat frudatafile sdrfile jsonfile rootdir sysfsdev evdev
		hostdevice hostbus hostaddr hostport host hidraw db dir wwpn kernel initrd bootargs file path filename mem-path sock`),
	allow(text, "serial model vendor product ver name hba_serial description osk id"),
	keys{"vhostdev": path, "romfile": firmware, "cmb_size_mb": oneOf("0"), "*": plain},
)

// processor is a virtual processor that is added to those of -smp. What it is like was said by -cpu.
var processor = regexp.MustCompile(`^[A-Za-z0-9_.+-]{1,64}-(x86_64|i386|aarch64|arm|s390x|riscv64|ppc64)-cpu$`)

// deviceValue: the guest's devices.
var deviceValue = value{
	implied: "driver", json: true, kind: "driver", real: realDevice,
	keys:   deviceKeys,
	kinds:  deviceKinds(),
	family: func(driver string) bool { return processor.MatchString(driver) },
	refused: map[string]string{
		"vfio-pci": "hands a device of the host to the guest", "usb-host": "hands a device of the host to the guest",
		"scsi-generic": "hands a device of the host to the guest", "scsi-block": "hands a device of the host to the guest",
		"vhost-scsi-pci": "hands a device of the host to the guest", "usb-mtp": "shares a directory of the host with the guest",
		"loader": "loads a file", "guest-loader": "loads a file",
	},
	check: hostDevice,
}

// hostDevices are the files that devices open without being told to.
var hostDevices = map[string]string{
	"vhost-vsock-pci": "/dev/vhost-vsock", "vhost-vsock-pci-non-transitional": "/dev/vhost-vsock", "vhost-vsock-device": "/dev/vhost-vsock", "vhost-vsock-ccw": "/dev/vhost-vsock", "vhost-vsock-pci-transitional": "/dev/vhost-vsock",
}

// hostDevice judges the file that a device opens without being told to.
func hostDevice(j *judge, kind string, _ cmdline.Pairs) error {
	if file := hostDevices[kind]; file != "" {
		_, err := path(j, file)
		return err
	}
	return nil
}

// realDevice is the name of a device that QEMU may know by another one, too.
func realDevice(j *judge, name string) string {
	if j.Programs == nil {
		return name
	}
	s, err := j.Programs.Survey(context.Background(), j.binary) // which has a time-out of its own
	if real, ok := s.Aliases[name]; ok && err == nil {
		return real
	}
	return name
}

func deviceKinds() map[string]keys {
	kinds := map[string]keys{}
	for _, name := range strings.Fields(guestDevices) {
		kinds[name] = keys{}
	}
	for _, name := range strings.Fields(virtioDevices) {
		for _, bus := range strings.Fields(virtioBuses) {
			kinds[name+bus] = keys{}
		}
	}
	return kinds
}
