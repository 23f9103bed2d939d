package policy

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/scatter-vm/scatter/qemu/cmdline"
)

// option is how the policy treats one option of QEMU's command line. With a rule it takes a value, without it is a
// switch.
type option struct {
	rule   rule
	drop   bool   // left out: scatter has its own, or it is of no use here
	refuse string // why it is refused; "" = it is not
}

// options are all options that the policy knows; others are refused.
var options = allOptions()

func allOptions() map[string]option {
	all := map[string]option{}
	add := func(o option, names string) {
		for _, name := range strings.Fields(names) {
			all[name] = o
		}
	}
	// scatter's own take their place: monitors, life cycle, logs, and windows on a screen that is not here.
	add(option{drop: true, rule: text}, "name qmp qmp-pretty monitor mon pidfile incoming loadvm D d dfilter trace echr rotate sandbox")
	add(option{drop: true, rule: text}, "id") // of Proxmox's QEMU, for its own use
	add(option{drop: true}, "S daemonize full-screen portrait alt-grab ctrl-grab no-quit enable-sync-profile perfmap jitdump")

	// Refused for what they do.
	for names, reason := range map[string]string{
		"gdb":                "a debugger commands the monitor",
		"readconfig":         "options in a file cannot be judged; 'send' puts them in its place",
		"writeconfig":        "writes a file",
		"set":                "changes other options after they were judged",
		"plugin":             "loads code",
		"add-fd":             noFiles,
		"fsdev virtfs":       "shares a directory of the host with the guest",
		"chroot runas":       "changes what the process may do; say it with the launch policy of this host",
		"dump-vmstate":       "writes a file",
		"xen-domid":          "needs xen",
		"semihosting-config": "gives the guest the host's files",
	} {
		add(option{refuse: reason, rule: text}, names)
	}
	add(option{refuse: "a debugger commands the monitor"}, "s")
	add(option{refuse: "waits for a monitor that does not come"}, "preconfig")
	add(option{refuse: "gives the guest the host's files"}, "semihosting")
	add(option{refuse: "the changes on its disks are in a private file of the source"}, "snapshot")
	add(option{refuse: "starts no VM"}, "h help version")
	add(option{refuse: "needs xen"}, "xen-attach xen-domid-restrict")

	// Switches and values without a path.
	add(option{}, "enable-kvm nodefaults no-user-config no-reboot no-shutdown no-fd-bootchk no-acpi no-hpet usb nographic "+
		"only-migratable mem-prealloc async-teardown singlestep win2k-hack")
	add(option{rule: plain}, "cpu smp numa rtc uuid vga action watchdog-action msg compat overcommit seed tb-size")
	add(option{rule: text}, "append")
	add(option{rule: matching("[a-z]{2,3}(-[a-z]{2,4})?", "a keyboard layout")}, "k")
	add(option{rule: oneOf("tablet", "mouse", "keyboard", "wacom-tablet")}, "usbdevice")

	// Files.
	add(option{rule: shortDisk}, "hda hdb hdc hdd fda fdb cdrom sd pflash mtdblock")
	add(option{rule: loaded}, "kernel initrd dtb shim")
	add(option{rule: firmware}, "bios L")
	add(option{rule: path}, "mem-path")

	// Values with keys.
	for name, v := range map[string]value{
		"machine": machineValue, "M": machineValue, "accel": accelValue, "boot": bootValue, "icount": icountValue,
		"option-rom": romValue, "smbios": smbiosValue, "acpitable": acpiValue, "fw_cfg": fwcfgValue, "device": deviceValue, "object": objectValue,
		"m": memoryValue, "run-with": runWithValue, "drive": driveValue, "blockdev": blockdevValue, "chardev": chardevValue, "netdev": netdevValue, "nic": nicValue,
		"net": netValue, "tpmdev": tpmValue, "audiodev": audioValue, "audio": audioValue, "spice": spiceValue, "iscsi": iscsiValue,
	} {
		add(option{rule: v.rule}, name)
	}
	add(option{rule: global}, "global")
	add(option{rule: display}, "display")
	add(option{rule: vnc}, "vnc")
	add(option{rule: charDevice}, "serial parallel debugcon")
	return all
}

var machineValue = value{
	implied: "type",
	keys: allow(plain, `type accel acpi append aux-ram-share boot.* bus-lock-ratelimit confidential-guest-support cxl
		default-bus-bypass-iommu dt-compatible auto-kernel-cmdline cap-cfpc cap-sbbc cap-ibs cap-htm cap-vsx cap-dfp cap-large-decr
		cap-ccf-assist cap-nested-hv cap-fwnmi cap-rpt-invalidate cap-ail-mode-3 ioapic2 isa-serial option-roms pcie rtc x-option-roms
		dump-guest-core fd-bootchk gic-version graphics highmem hmat hpet i8042 its
		kernel-irqchip kernel_irqchip kvm-shadow-mem max-fw-size max-ram-below-4g mem-merge memory-backend
		memory-encryption mte nvdimm nvdimm-persistence pcspk-audiodev pflash0 pflash1 phandle-start pic pit ras sata secure
		smbios-entry-point-type smbus smm smp.* smp-cache.* suppress-vmdesc usb virtualization vmport x-oem-id x-oem-table-id
		x-south-bridge`).with(
		allow(loaded, "kernel initrd dtb shim"),
		allow(never("say it with -m"), "memory.*"),
		keys{"firmware": firmware, "append": text, "dumpdtb": never("writes a file")}),
}

var accelValue = value{
	implied: "accel",
	keys: allow(plain, `accel kernel-irqchip kvm-shadow-mem dirty-ring-size eager-split-size notify-vmexit notify-window
		one-insn-per-tb split-wx tb-size thread igd-passthru`).with(
		keys{"device": oneOf("/dev/kvm"), "rapl": off("shows the guest the power of this host, by a helper"), "rapl-helper-socket": path}),
}

// memoryValue: of a key that is given twice QEMU takes the last, and MemoryOf the first, so none may be.
var memoryValue = value{implied: "size", keys: allow(plain, "size slots maxmem")}

var runWithValue = value{keys: allow(plain, "async-teardown").with(
	allow(never("changes what the process may do; say it with the launch policy of this host"), "chroot user exit-with-parent"))}

var bootValue = value{
	implied: "order",
	keys:    allow(plain, "order once menu splash-time reboot-timeout strict").with(keys{"splash": readPath}),
}

var icountValue = value{
	implied: "shift",
	keys:    allow(plain, "shift align sleep").with(allow(never("records to a file"), "rr rrfile rrsnapshot")),
}

var romValue = value{implied: "romfile", keys: keys{"romfile": firmware, "bootindex": plain}}

// smbiosValue: texts for the guest's firmware tables.
var smbiosValue = value{keys: keys{"*": text, "file": readPath, "path": readPath}}

var acpiValue = value{
	keys: allow(plain, "sig rev oem_id oem_table_id oem_rev asl_compiler_id asl_compiler_rev").with(allow(pathList, "data file")),
}

var fwcfgValue = value{implied: "name", keys: keys{"name": text, "string": text, "gen_id": plain, "file": readPath}}

var tpmValue = value{
	implied: "type", kind: "type",
	keys:    allow(plain, "id"),
	kinds:   map[string]keys{"emulator": allow(plain, "chardev")},
	refused: map[string]string{"passthrough": "hands the host's TPM to the guest"},
}

var audioValue = value{
	implied: "driver", json: true, kind: "driver", check: wavFile,
	keys: allow(plain, "id timer-period in.* out.* model"),
	kinds: map[string]keys{
		"none": {}, "spice": {}, "wav": {"path": path},
	},
	refused: map[string]string{
		"pa": "connects to the host's sound server", "pipewire": "connects to the host's sound server",
		"jack": "connects to the host's sound server", "dbus": "connects to a bus of the host",
		"alsa": "opens the host's sound device", "oss": "opens the host's sound device", "sdl": "opens the host's sound device",
	},
}

// wavFile refuses a recording whose file is not named: QEMU has a name for it.
func wavFile(j *judge, kind string, pairs cmdline.Pairs) error {
	if kind == "wav" && pairs.Get("path") == "" {
		return j.refuse("wav", "implied path=qemu.wav; say which file")
	}
	return nil
}

// iscsiValue: what is used by disks, which are judged themselves.
var iscsiValue = value{
	keys: allow(plain, "id initiator-name header-digest timeout").with(allow(never("holds a secret of the source"), "user password password-secret")),
}

var spiceValue = value{
	keys: allow(plain, `ipv4 ipv6 unix tls-ciphers tls-channel plaintext-channel sasl disable-ticketing
		password-secret image-compression jpeg-wan-compression zlib-glz-wan-compression streaming-video disable-copy-paste
		disable-agent-file-xfer agent-mouse playback-compression seamless-migration`).with(
		allow(readPath, "x509-dir x509-key-file x509-cert-file x509-cacert-file x509-dh-key-file"), allow(path, "rendernode"),
		keys{"gl": off("opens a device of the host that is not named"), "port": tcpPort, "tls-port": tcpPort, "addr": spiceAddress, "password": text, "x509-key-password": text}),
}

// spiceAddress judges an address or a socket; any other name would be a file in the working directory.
func spiceAddress(j *judge, s string) (string, error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return s, nil
	}
	return path(j, s)
}

var (
	vncKeys = allow(plain, `to password password-secret tls-creds tls-authz sasl sasl-authz lossy non-adaptive share audiodev display
		head power-control key-delay-ms ipv4 ipv6`).with(keys{"reverse": network, "vnc": vncAddress, "websocket": websocket})
	vncPlace = regexp.MustCompile(`^(none|(\[[0-9A-Fa-f:.]+\]|[0-9A-Za-z.-]*):[0-9]{1,5})$`)
)

func vnc(j *judge, s string) (string, error) {
	return value{implied: "vnc", keys: vncKeys, check: vncPorts}.rule(j, s)
}

// firstWebsocket is the first port of displays for browsers.
const firstWebsocket = 5700

// vncPorts judges the ports that a display listens at.
func vncPorts(j *judge, _ string, pairs cmdline.Pairs) error {
	number := pairs.Get("vnc")[strings.LastIndexByte(pairs.Get("vnc"), ':')+1:]
	display, err := strconv.Atoi(number)
	if err != nil || strings.HasPrefix(pairs.Get("vnc"), "unix:") || cmdline.IsOn(pairs.Get("reverse")) {
		return nil // no port, or judged elsewhere
	}
	more := 0
	if to := pairs.Get("to"); to != "" {
		if more, err = strconv.Atoi(to); err != nil || !decimal.MatchString(to) {
			return j.refuse("to="+to, notAPort)
		}
	}
	if !decimal.MatchString(number) {
		return j.refuse(pairs.Get("vnc"), notAPort)
	}
	err = j.listen(cmdline.FirstVNC+display, cmdline.FirstVNC+display+more)
	if w := pairs.Get("websocket"); w != "" && cmdline.IsOn(w) {
		err = errors.Join(err, j.listen(firstWebsocket+display, firstWebsocket+display+more))
	}
	return err
}

// websocket judges the port of a display for browsers; "on" stands for one that goes with the display's number.
func websocket(j *judge, s string) (string, error) {
	if s == "on" || s == "off" {
		return s, nil
	}
	return tcpPort(j, s)
}

// decimal is a number that is not octal for QEMU.
var decimal = regexp.MustCompile(`^(0|[1-9][0-9]*)$`)

const notAPort = "not the number of a port"

// tcpPort judges the number of a port that is listened at; 0 is none.
func tcpPort(j *judge, s string) (string, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || !decimal.MatchString(s) {
		return "", j.refuse(s, notAPort)
	}
	if port == 0 {
		return s, nil
	}
	return s, j.listen(int(port), int(port))
}

// defaultPorts are those of displays 0 to 1023, and of their websockets.
var defaultPorts = []PortRange{{firstWebsocket, cmdline.FirstVNC + 1023}}

// listen judges and notes ports that are listened at.
func (j *judge) listen(first, last int) error {
	allowed := j.AllowPorts
	if len(allowed) == 0 {
		allowed = defaultPorts
	}
	if !contain(allowed, first, last) {
		return j.refuse(fmt.Sprintf("%d", first), "listens at a port that is not allowed")
	}
	for port := first; port <= last; port++ {
		j.ports = append(j.ports, uint16(port))
	}
	return nil
}

// contain tells whether one of the ranges has all ports from first to last.
func contain(ranges []PortRange, first, last int) bool {
	return slices.ContainsFunc(ranges, func(r PortRange) bool { return int(r.First) <= first && last <= int(r.Last) && first <= last })
}

func vncAddress(j *judge, s string) (string, error) {
	if socket, ok := strings.CutPrefix(s, "unix:"); ok {
		name, err := path(j, socket)
		return "unix:" + name, err
	}
	if !vncPlace.MatchString(s) {
		return "", j.refuse(s, "not a display address")
	}
	return s, nil
}

// display turns windows into nothing: the guest keeps its graphics card.
func display(j *judge, s string) (string, error) {
	if rest, ok := strings.CutPrefix(s, "vnc="); ok {
		v, err := vnc(j, rest)
		return "vnc=" + v, err
	}
	switch kind, _, _ := strings.Cut(s, ","); kind {
	case "none", "gtk", "sdl", "curses", "cocoa", "default":
		return "none", nil
	case "egl-headless":
		if cmdline.KeyvalOf(s, "type", "rendernode") == "" {
			return "", j.refuse(s, "implied rendernode; say which device")
		}
		return value{implied: "type", keys: keys{"type": plain, "rendernode": path, "gl": plain}}.rule(j, s)
	}
	return "", j.refuse(s, "not known to the launch policy")
}

var (
	globalForm   = regexp.MustCompile(`^([A-Za-z0-9_+-]{1,63})\.([A-Za-z0-9_\[\]-]{1,63})=(.*)$`)
	globalDriver = regexp.MustCompile(`^[A-Za-z0-9_.+-]{1,63}$`)
	globalKey    = regexp.MustCompile(`^[A-Za-z0-9_\[\]-]{1,63}$`)
)

// global judges a default for a device's property like the property itself.
func global(j *judge, s string) (string, error) {
	driver, property, was, ok := splitGlobal(s)
	if !ok {
		return "", j.refuse(s, "not of the form driver.property=value")
	}
	if _, ok := objectValue.kinds[driver]; ok || driver == "migration" {
		return "", j.refuse(s, "changes more than a device")
	}
	v, err := deviceKeys.judge(j, cmdline.Pair{Key: property, Value: was})
	if short := driver + "." + property + "=" + v; globalForm.MatchString(short) {
		return short, err
	}
	return cmdline.FormatKeyval(cmdline.Pairs{{Key: "driver", Value: driver}, {Key: "property", Value: property}, {Key: "value", Value: v}}, ""), err
}

// splitGlobal takes driver.property=value apart, and driver=,property=,value= (qemu_global_option in QEMU's system/globals.c).
func splitGlobal(s string) (driver, property, value string, ok bool) {
	if m := globalForm.FindStringSubmatch(s); m != nil {
		return m[1], m[2], m[3], true
	}
	pairs, err := cmdline.ParseKeyval(s, "")
	if err != nil || len(pairs) != 3 {
		return "", "", "", false
	}
	part := make(map[string]string)
	for _, p := range pairs {
		part[p.Key] = p.Value
	}
	value, ok = part["value"]
	driver, property = part["driver"], part["property"]
	return driver, property, value, ok && globalDriver.MatchString(driver) && globalKey.MatchString(property)
}
