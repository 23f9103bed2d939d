package cmdline

import "strings"

// Form is how an option is written.
type Form uint8

const (
	Unknown Form = iota // not an option that is known here
	Switch              // without a value
	Valued              // with a value in the next word, whatever that begins with
)

// FormOf is the form of an option, by its name without dashes.
func FormOf(name string) Form { return forms[name] }

// Names are all options that are known.
func Names() []string { return strings.Fields(switches + valued) }

// What a word is, an option's name or its value, no word says itself: so all options have to be known, of all versions of QEMU.
const (
	switches = ` S alt-grab async-teardown ctrl-grab daemonize enable-kvm enable-sync-profile full-screen h help jitdump mem-prealloc
		no-acpi no-fd-bootchk no-hpet no-quit no-reboot no-shutdown no-user-config nodefaults nographic only-migratable perfmap portrait
		preconfig s semihosting singlestep snapshot usb version win2k-hack xen-attach xen-domid-restrict `
	valued = ` D L M accel acpitable action add-fd append audio audiodev bios blockdev boot cdrom chardev chroot compat cpu d debugcon device
		dfilter display drive dtb dump-vmstate echr fda fdb fsdev fw_cfg gdb global hda hdb hdc hdd icount id incoming initrd iscsi k kernel
		loadvm m machine mem-path mon monitor msg mtdblock name net netdev nic numa object option-rom overcommit parallel pflash pidfile
		plugin qmp qmp-pretty readconfig rotate rtc run-with runas sandbox sd seed semihosting-config serial set shim smbios smp spice tb-size
		tpmdev trace usbdevice uuid vga virtfs vnc watchdog-action writeconfig xen-domid `
)

var forms = formsOf()

func formsOf() map[string]Form {
	all := make(map[string]Form)
	for _, name := range strings.Fields(switches) {
		all[name] = Switch
	}
	for _, name := range strings.Fields(valued) {
		all[name] = Valued
	}
	return all
}
