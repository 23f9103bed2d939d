package policy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// judged applies a policy to some options and returns what became of them, without what scatter adds.
func judged(p Policy, args ...string) ([]string, error) {
	c, err := p.Command(append([]string{"/usr/bin/qemu-system-x86_64", "-nodefaults", "-display", "none"}, args...), "vm", "/run/scatter-test")
	if err != nil {
		return nil, err
	}
	out := c.Argv
	own := []string{"-monitor", "none", "-qmp", "unix:/run/scatter-test/vm.qmp,server=on,wait=off",
		"-pidfile", "/run/scatter-test/vm.pid", "-incoming", "defer", "-S"}
	head, tail := out[:6], out[len(out)-len(own):]
	if !slices.Equal(head, []string{"/usr/bin/qemu-system-x86_64", "-name", "guest=vm", "-nodefaults", "-display", "none"}) || !slices.Equal(tail, own) {
		return nil, fmt.Errorf("command %q", out)
	}
	return out[6 : len(out)-len(own)], nil
}

// images is a policy that allows /srv/vm, which need not exist, and the things that the tests ask for.
var images = Policy{
	AllowPaths: []string{"/srv/vm", "/dev/vg0", "rbd:vms/", "nbd://storage/"},
	Rewrites:   []Rewrite{{"/var/lib/libvirt/images", "/srv/vm"}, {"/var/lib/libvirt/images/fast", "/srv/vm/nvme"}},
}

var networked = Policy{AllowPaths: images.AllowPaths, AllowNetwork: true}

func TestPolicyAccepts(t *testing.T) {
	for _, test := range []struct{ in, want string }{ // one argument per blank; want "" = unchanged
		{"-m 16 -smp 2,sockets=2 -M pc -cpu qemu64,+ssse3 -enable-kvm", "-m 16 -smp 2,sockets=2 -M pc -cpu qemu64,+ssse3 -enable-kvm"},
		{"--machine type=q35,accel=kvm:tcg,usb=off", "-machine q35,accel=kvm:tcg,usb=off"},
		{"-machine q35,nousb,memory-backend=ram0", "-machine q35,usb=off,memory-backend=ram0"},
		{"-drive file=/srv/vm/a.qcow2,format=qcow2,if=virtio,id=d0", ""},
		{"-drive file=/srv/vm/a,,b.raw,format=raw,readonly", "-drive file=/srv/vm/a,,b.raw,format=raw,readonly=on"},
		{"-drive file=/var/lib/libvirt/images/a.raw,format=raw", "-drive file=/srv/vm/a.raw,format=raw"},
		{"-drive file=/var/lib/libvirt/images/fast/a.raw,format=raw", "-drive file=/srv/vm/nvme/a.raw,format=raw"},
		{"-drive file.driver=file,file.filename=/srv/vm/x,driver=raw,id=z", ""},
		{"-drive if=none,media=cdrom,id=cd", ""},
		{"-drive file=rbd:vms/web-1,format=raw", ""},
		{"-drive format=raw,file=nbd://storage/disk-1", ""},
		{"-drive format=raw,file=/srv/vm//./x", "-drive format=raw,file=/srv/vm/x"},
		{`-blockdev {"driver":"qcow2","node-name":"f","file":{"driver":"file","filename":"/var/lib/libvirt/images/a","aio":"native"},"read-only":false}`,
			`-blockdev {"driver":"qcow2","file":{"aio":"native","driver":"file","filename":"/srv/vm/a"},"node-name":"f","read-only":false}`},
		{`-blockdev {"driver":"qcow2","backing":null,"file":"storage0"}`, `-blockdev {"backing":null,"driver":"qcow2","file":"storage0"}`},
		{`-blockdev driver=raw,node-name=n,file=storage0`, `-blockdev raw,node-name=n,file=storage0`},
		{"-device virtio-blk-pci,drive=d0,bus=pci.0,addr=0x3.0x1,serial=a/b", ""},
		{"-device e1000,romfile=", ""},
		{"-device e1000,romfile=efi-e1000.rom", ""},
		{"-device e1000,romfile=/usr/share/qemu/efi-e1000.rom", ""},
		{`-device {"driver":"virtio-net-pci","netdev":"n0","mac":"52:54:00:00:00:01","queues":[1,2]}`,
			`-device {"driver":"virtio-net-pci","mac":"52:54:00:00:00:01","netdev":"n0","queues":[1,2]}`},
		{"-global ICH9-LPC.noreboot=off -global kvm-pit.lost_tick_policy=delay", ""},
		{"-object memory-backend-memfd,id=ram0,size=16M,share=on", ""},
		{"-object memory-backend-file,id=ram0,size=16M,mem-path=/srv/vm/ram", ""},
		{`-object {"qom-type":"rng-random","id":"r","filename":"/dev/urandom"}`, `-object {"filename":"/dev/urandom","id":"r","qom-type":"rng-random"}`},
		{"-netdev tap,id=n0,ifname=tap0,script=no,downscript=no,vhost=on", ""},
		{"-netdev vhost-user,id=n0,chardev=c0", ""},
		{"-nic none -net none", ""},
		{"-chardev socket,id=c0,path=/srv/vm/agent,server,nowait", "-chardev socket,id=c0,path=/srv/vm/agent,server=on,wait=off"},
		{"-chardev pty,id=p -serial chardev:p -parallel none", ""},
		{"-serial mon:stdio", "-serial stdio"},
		{"-serial unix:/srv/vm/s,server,nowait", "-serial unix:/srv/vm/s,server=on,wait=off"},
		{"-serial file:/srv/vm/log,x", ""},
		{"-vnc 127.0.0.1:3,password=on -vnc unix:/srv/vm/vnc -vnc none -vnc :1", ""},
		{"-display gtk,gl=on", "-display none"},
		{"-display vnc=:7", ""},
		{"-smbios type=1,manufacturer=A/B,,C,product=../x", ""},
		{"-fw_cfg name=opt/x,string=a/b", "-fw_cfg opt/x,string=a/b"},
		{"-fw_cfg opt/x,file=/srv/vm/ign", ""},
		{"-kernel /srv/vm/k -initrd /srv/vm/i -append root=/dev/sda", ""},
		{"-bios /usr/share/seabios/bios.bin", ""},
		{"-bios bios-256k.bin -L /usr/share/qemu -option-rom kvmvapic.bin", ""},
		{"-boot menu=on,strict=on,splash=/srv/vm/logo", ""},
		{"-tpmdev emulator,id=t,chardev=c0", ""},
		{"-audiodev none,id=a", ""},
		{"-rtc base=utc,clock=host -uuid 00000000-0000-0000-0000-000000000001 -k de-ch -boot c", ""},
		{"-sandbox on,spawn=allow -msg timestamp=on -overcommit mem-lock=off", "-msg timestamp=on -overcommit mem-lock=off"},
		// scatter's own take the place of these
		{"-name guest=old,debug-threads=on -qmp tcp:0:1 -qmp-pretty stdio -monitor stdio -pidfile /x -incoming exec:id -loadvm s -daemonize -S", " "},
		{"-D /etc/passwd -d int -trace file=/x -full-screen", " "},
		{"-chardev socket,id=mon0,path=/elsewhere -mon chardev=mon0,mode=control", " "},
		{"-chardev socket,id=mon0,path=/elsewhere -mon mon0", " "},
		{"-chardev stdio,mux=on,id=c -mon chardev=c -serial chardev:c", "-chardev stdio,mux=on,id=c -serial chardev:c"},
		{`-chardev stdio,id=c -mon c -device {"driver":"isa-serial","chardev":"c"}`, `-chardev stdio,id=c -device {"chardev":"c","driver":"isa-serial"}`},
	} {
		if test.want == "" {
			test.want = test.in
		}
		got, err := judged(images, strings.Fields(test.in)...)
		if err != nil || strings.Join(got, " ") != strings.TrimSpace(test.want) {
			t.Errorf("%s\n got %q %v\nwant %q", test.in, strings.Join(got, " "), err, test.want)
		}
	}
}

func TestPolicyAcceptsWithNetwork(t *testing.T) {
	for _, in := range []string{
		"-netdev user,id=n0,net=10.0.2.0/24,hostfwd=tcp::2222-:22,hostfwd=tcp::8080-:80,tftp=/srv/vm/tftp",
		"-nic user,model=e1000 -net nic,model=e1000 -net user",
		"-netdev socket,id=n0,listen=:1234 -netdev stream,id=n1,server=off,addr.type=inet,addr.host=h,addr.port=1",
		"-netdev stream,id=n1,addr.type=unix,addr.path=/srv/vm/sock -netdev l2tpv3,id=n2,src=1.2.3.4,dst=1.2.3.5,txsession=1",
		"-chardev socket,id=c,host=h,port=4001,server=on,wait=off -serial tcp:h:4002,server=on -serial udp:h:1 -vnc h:1,reverse=on",
		"-netdev socket,id=n0,mcast=230.0.0.1:1234,localaddr=10.0.0.1 -netdev socket,id=n1,udp=10.0.0.2:1,localaddr=10.0.0.1:1234",
		"-drive driver=nbd,server.type=inet,server.host=h,server.port=1,export=e",
		"-drive file.driver=rbd,file.pool=p,file.image=i,driver=raw",
	} {
		args := strings.Fields(in)
		got, err := judged(networked, args...)
		if err != nil || !slices.Equal(got, args) {
			t.Errorf("%s\n got %q %v", in, strings.Join(got, " "), err)
		}
		if _, err := judged(images, args...); err == nil {
			t.Errorf("%s: accepted without network", in)
		}
	}
}

// What an attacker would try. All must be refused by the name of the option, although the network is allowed.
func TestPolicyRefuses(t *testing.T) {
	for _, in := range []string{
		// programs
		"-netdev tap,id=n,script=/tmp/x", "-netdev tap,id=n,script=no,downscript=/tmp/x", "-netdev tap,id=n", "-nic tap", "-net tap",
		"-netdev tap,id=n,helper=/tmp/x", "-netdev bridge,id=n", "-netdev bridge,id=n,helper=/tmp/x", "-nic bridge,helper=/tmp/x",
		`-netdev {"type":"tap","id":"n","script":"/tmp/x","downscript":"no"}`, "-netdev passt,id=n,path=/tmp/x",
		"-netdev user,id=n,guestfwd=tcp:10.0.2.100:1-cmd:/tmp/x", "-netdev user,id=n,smb=/srv/vm",
		`-netdev {"type":"user","id":"n","guestfwd":[{"str":"tcp:10.0.2.1:1-cmd:id"}]}`,
		"-plugin /srv/vm/x.so", "-plugin file=/srv/vm/x.so", "-object dbus-vmstate,id=d,addr=unixexec:path=/tmp/x",
		"-display spice-app", "-display dbus,addr=unixexec:path=/tmp/x", "-audiodev dbus,id=a", "-audiodev pa,id=a,server=unix:/x",
		// monitors by the back door
		"-serial mon:mon:stdio", "-gdb tcp::1234", "-s", "-object qtest,id=q,chardev=c", "-serial chardev:a/b",
		// options that change others, or bring more
		"-set drive.d.file=/etc/shadow", "-readconfig /srv/vm/x", "-writeconfig /srv/vm/x", "-add-fd fd=3,set=1",
		"-global migration.x-foo=on", "-global rng-random.filename=/dev/sda", "-global virtio-net-pci.romfile=/etc/shadow",
		"-global usb-tablet.pcap=x", "-global driver=e1000,property=romfile,value=/etc/shadow", "-global vfio-pci.sysfsdev=x",
		// files
		"-drive file=/etc/shadow,format=raw", "-drive file=/srv/vmx/a", "-drive file=/srv/vm/../../etc/shadow", "-drive file=a.raw",
		"-drive file=../a.raw", "-drive file=fat:rw:/srv/vm", "-drive file=json:{}", "-drive file=file:/srv/vm/a", "-drive file=ssh://h/a",
		"-drive file=nbd:unix:/x", "-drive file=rbd:other/a", "-drive file=rbd:vms/a:conf=/etc/shadow", "-drive file=rbd:vms/../a",
		"-drive file=nbd://storage/a?socket=/x", "-drive file=blkdebug:/x:/srv/vm/a", "-drive file=/srv/vm/a,file=/etc/shadow",
		"-drive file=/srv/vm/a,format=vvfat", "-drive file.driver=vvfat,file.dir=/srv/vm", "-drive file=/srv/vm/a,snapshot=on", "-snapshot",
		"-drive file=/srv/vm/a,backing.file.filename=/etc/shadow", "-drive file.filename=/etc/shadow,file.driver=file",
		`-blockdev {"driver":"file","node-name":"n","filename":"/etc/shadow"}`, `-blockdev {'driver':'file','filename':'/etc/shadow'}`,
		`-blockdev {"driver":"raw","file":{"driver":"raw","file":{"driver":"file","filename":"/etc/shadow"}}}`,
		`-blockdev {"driver":"file","filename":"/srv/vm/a","x":{"filename":"/etc/shadow"}}`,
		`-blockdev {"driver":"file","file.filename":"/etc/shadow"}`, `-blockdev {"driver":"file","filename":null}`,
		`-blockdev {"driver":"vvfat","dir":"/srv/vm"}`, `-blockdev {"driver":"ssh","path":"/srv/vm/x"}`, `-blockdev {} {}`, `-blockdev {`,
		`-blockdev {"driver":"file","filename":"/srv/vm/a"}trailing`, `-blockdev {"driver":"nbd","server":{"type":"fd","str":"3"}}`,
		"-blockdev driver=blkdebug,config=/etc/shadow,image=x", "-blockdev driver=file,filename=/etc/shadow", "-blockdev driver=blklogwrites,log=x",
		"-cdrom /etc/shadow", "-hda /etc/shadow", "-fda x", "/etc/shadow", "-pflash /etc/x", "-mtdblock /x", "-sd /x", "-sd x",
		"-kernel /etc/shadow", "-initrd /srv/vm/i,/etc/shadow", "-dtb x", "-machine pc,kernel=/etc/shadow", "-machine pc,dumpdtb=/srv/vm/x",
		"-machine pc,firmware=/etc/shadow", "-bios /etc/shadow", "-bios ../../etc/shadow", "-bios shadow", "-L /etc", "-option-rom /etc/shadow",
		"-device e1000,romfile=/etc/shadow", "-device e1000,romfile=shadow", `-device {"driver":"e1000","romfile":"/etc/shadow"}`,
		"-device loader,file=/etc/shadow", "-device guest-loader,kernel=/x", "-device usb-tablet,pcap=/srv/vm/x", "-device vfio-pci,host=00:02.0",
		"-device usb-host,hostbus=1", "-device usb-mtp,rootdir=/srv/vm", "-device virtio-input-host-pci,evdev=/dev/input/event0",
		"-device scsi-generic,drive=d", "-device vhost-scsi-pci,wwpn=x", "-device nonesuch", "-device e1000,foo=/etc/x", "-device e1000,driver=loader",
		"-device", "-device driver=e1000,driver=loader,file=/x", "-device e1000,id=a,id=b",
		`-device {"driver":"e1000","bus":"a","bus":null,"romfile":null,"fd":1}`, "-device ipmi-bmc-sim,sdrfile=/x", "-device virtio-net-pci,vhostfd=3",
		"-object memory-backend-file,id=m,size=1,mem-path=/etc/x", "-object secret,id=s,file=/etc/shadow", "-object secret_keyring,id=s,serial=1",
		"-object rng-random,id=r,filename=/dev/sda", "-object filter-dump,id=f,netdev=n,file=/srv/vm/x", "-object input-linux,id=i,evdev=/x",
		"-object tls-creds-x509,id=t,dir=/etc", "-object pr-manager-helper,id=p,path=/run/x", "-object nonesuch,id=x", "-mem-path /dev/shm",
		"-object can-host-socketcan,id=c,if=can0", `-object {"qom-type":"secret","id":"s","file":"/etc/shadow"}`, "-object id=x",
		"-chardev file,id=c,path=/etc/x", "-chardev null,id=c,logfile=/etc/x", "-chardev pipe,id=c,path=/tmp/x", "-chardev pty,id=c,path=/tmp/x",
		"-chardev serial,id=c,path=/dev/ttyS0", "-chardev socket,id=c,path=/run/docker.sock", "-chardev socket,id=c,fd=3",
		"-chardev socket,id=c,path=/srv/vm/x,abstract=on", "-chardev socket,id=c,path=/srv/vm/x,path=/etc/x", "-chardev braille,id=c",
		"-chardev file,id=c,path=/srv/vm/a,input-path=/etc/shadow", "-chardev socket,id=c,path=/run/scatter-test/other.qmp", "-chardev nonesuch,id=x",
		"-serial file:/etc/x", "-serial pipe:/tmp/x", "-serial unix:/run/docker.sock", "-serial /dev/ttyS0", "-serial pty:x", "-serial pty:/tmp/x",
		"-serial tcp:h:1,logfile=/etc/x", "-serial tcp:h:1,path=/run/docker.sock", "-debugcon file:/etc/x", "-parallel /dev/parport0", "-serial foo",
		"-vnc unix:/tmp/x", "-vnc foo", "-vnc :1,x509=/etc", "-spice unix=on,addr=vm2.qmp", "-spice addr=/run/x", "-spice x509-dir=/etc,port=1",
		"-display egl-headless,rendernode=/dev/sda", "-fsdev local,id=f,path=/srv/vm,security_model=none", "-virtfs local,path=/,mount_tag=x",
		"-smbios file=/etc/shadow", "-smbios type=11,path=/etc/shadow", "-acpitable file=/srv/vm/a:/etc/shadow", "-acpitable data=x",
		"-fw_cfg name=opt/x,file=/etc/shadow", "-boot splash=/etc/shadow", "-icount shift=1,rr=record,rrfile=/srv/vm/x", "-dump-vmstate /srv/vm/x",
		"-tpmdev passthrough,id=t,path=/dev/tpm0", "-audiodev wav,id=a,path=/etc/x", "-audiodev oss,id=a,in.dev=/dev/sda", "-k ../../etc/x",
		"-netdev user,id=n,tftp=/etc", "-netdev vde,id=n,sock=/tmp/x", "-netdev vhost-vdpa,id=n,vhostdev=/dev/vhost-vdpa-0", "-netdev tap,id=n,fd=3",
		"-netdev stream,id=n,addr.type=unix,addr.path=/run/x", "-netdev dgram,id=n,local.type=fd,local.str=3", "-netdev foo,id=n", "-netdev id=n",
		"-netdev user,id=n,type=tap", "-netdev tap,id=n,ifname=../../x,script=no,downscript=no", "-accel kvm,device=/dev/sda",
		"-iscsi user=x", "-cpu a/b", "-m ./x", "-usbdevice braille", "-usbdevice disk:/x", "-xen-attach",
		// privileges, life cycle, the unknown
		"-runas nobody", "-run-with user=root", "-run-with chroot=/", "-chroot /", "-preconfig", "-h", "-version", "-nonesuch", "-", "--", "",
		"-semihosting", "-device ?", "-device help", "-netdev help", "-m", "-qmp", "-drive =x", "-drive a/b=c", "-m a\x01b", "-m a\nb",
	} {
		args := strings.Split(in, " ")
		got, err := judged(networked, args...)
		if _, ok := errors.AsType[*Error](err); !ok {
			t.Errorf("%s\n got %q %v", in, strings.Join(got, " "), err)
		}
	}
}

func TestPolicyErrorNamesTheOption(t *testing.T) {
	for in, want := range map[string]Error{
		"-nonesuch":                        {Option: "-nonesuch", Reason: "not known to the launch policy"},
		"-drive id=a,file=/etc/shadow":     {Option: "-drive", Value: "file=/etc/shadow", Reason: "path outside the allowed ones"},
		"-netdev tap,id=n":                 {Option: "-netdev", Value: "script=/etc/qemu-ifup", Reason: "implied; runs a program that is not allowed"},
		"-netdev tap,script=/x,id=n":       {Option: "-netdev", Value: "script=/x", Reason: "runs a program that is not allowed"},
		"-netdev bridge,helper=/x,id=n":    {Option: "-netdev", Value: "helper=/x", Reason: "runs a program that is not allowed"},
		"-device vfio-pci,host=1":          {Option: "-device", Value: "vfio-pci", Reason: "hands a device of the host to the guest"},
		"/srv/vm/x":                        {Option: "disk image", Value: "/srv/vm/x", Reason: noFormat},
		"-drive file=/srv/vm/x":            {Option: "-drive", Value: "file=/srv/vm/x", Reason: noFormat},
		"/etc/shadow":                      {Option: "disk image", Value: "/etc/shadow", Reason: "path outside the allowed ones"},
		"-netdev user,id=n":                {Option: "-netdev", Value: "type=user", Reason: needsNetwork},
		"-chardev socket,id=x,what=/etc/y": {Option: "-chardev", Value: "what=/etc/y", Reason: "key is not known to the launch policy"},
	} {
		_, err := judged(images, strings.Fields(in)...)
		if e, ok := errors.AsType[*Error](err); !ok || *e != want {
			t.Errorf("%s\n got %+v\nwant %+v", in, err, want)
		}
	}
}

// TestPolicyNamesAll: whoever has to change a command line wants to hear of all of it.
func TestPolicyNamesAll(t *testing.T) {
	_, err := judged(images, strings.Fields("-nonesuch x -hda /etc/shadow -m 16 -netdev tap,id=n,fd=3,ifname=a/b -other -device nonesuch -serial")...)
	all, ok := errors.AsType[Errors](err)
	var got []string
	for _, e := range all {
		got = append(got, e.Option+" "+e.Value)
	}
	want := []string{"-nonesuch ", "-other ", "-serial ", "-hda /etc/shadow", "-netdev fd=3", "-netdev ifname=a/b", "-device driver=nonesuch"}
	if !ok || !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	many := slices.Repeat([]string{"-nonesuch"}, maxRefusals+5)
	if _, err := judged(images, many...); err == nil || !strings.HasSuffix(err.Error(), "; and 5 more") {
		t.Errorf("error %v", err)
	}
}

func TestPolicyPrograms(t *testing.T) {
	p := Policy{AllowPrograms: []string{"/etc/qemu-ifup", "/etc/qemu-ifdown"}}
	for in, ok := range map[string]bool{
		"-netdev tap,id=n":                                     true,
		"-netdev tap,id=n,script=/etc/qemu-ifup":               true,
		"-netdev tap,id=n,script=/etc/../etc/qemu-ifup":        false,
		"-netdev bridge,id=n":                                  false,
		"-netdev tap,id=n,helper=/usr/lib/qemu/qemu-br-helper": false,
	} {
		if _, err := judged(p, strings.Fields(in)...); (err == nil) != ok {
			t.Errorf("%s: %v", in, err)
		}
	}
}

func TestPolicyImpliedNetwork(t *testing.T) {
	argv := []string{"qemu-system-x86_64", "-m", "16"}
	if _, err := (Policy{}).Command(argv, "vm", "/run/x"); err == nil || !strings.Contains(err.Error(), "-nic user") {
		t.Errorf("error %v", err)
	}
	out, err := Policy{AllowNetwork: true}.Command(argv, "vm", "/run/x", "-trace", "x")
	want := "/usr/bin/qemu-system-x86_64 -name guest=vm -m 16 -display none -monitor none " +
		"-qmp unix:/run/x/vm.qmp,server=on,wait=off -pidfile /run/x/vm.pid -incoming defer -S -trace x"
	if err != nil || strings.Join(out.Argv, " ") != want {
		t.Errorf("%+v %v", out, err)
	}
}

func TestPolicyBinary(t *testing.T) {
	for source, want := range map[string]string{
		"/usr/bin/qemu-system-x86_64": "/usr/bin/qemu-system-x86_64", "qemu-system-aarch64": "/usr/bin/qemu-system-aarch64",
		"/tmp/qemu-system-x86_64": "", "/usr/bin/../../tmp/qemu-system-x86_64": "", "/bin/sh": "", "": "", "./qemu-system-x86_64": "",
		"/usr/bin/qemu-system-x86_64 -x": "", "/usr/bin/qemu-system-/../../../tmp/x": "",
	} {
		out, err := Policy{}.Command([]string{source, "-nodefaults"}, "vm", "/run/x")
		if (err == nil) != (want != "") || (err == nil && out.Argv[0] != want) {
			t.Errorf("%q: %+v %v", source, out, err)
		}
	}
	out, err := Policy{QEMU: "/opt/q"}.Command([]string{"/bin/sh", "-nodefaults"}, "vm", "/run/x")
	if err != nil || out.Argv[0] != "/opt/q" {
		t.Errorf("%+v %v", out, err)
	}
	for _, argv := range [][]string{nil, make([]string, maxArgs+1), {"qemu-system-x86_64", "-m", strings.Repeat("1", maxArgLen+1)}} {
		if _, err := (Policy{}).Command(argv, "vm", "/run/x"); err == nil {
			t.Errorf("%d arguments accepted", len(argv))
		}
	}
	if _, err := (Policy{}).Command([]string{"qemu-system-x86_64", "-nodefaults"}, "vm", "run"); err == nil {
		t.Error("relative run directory accepted")
	}
	if _, err := (Policy{}).Command([]string{"qemu-system-x86_64", "-nodefaults"}, "../vm", "/run"); err == nil {
		t.Error("odd name accepted")
	}
}

// Symbolic links count for what they lead to.
func TestPolicyFollowsLinks(t *testing.T) {
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	inside, outside := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	run := filepath.Join(inside, "run")
	for _, d := range []string{inside, outside, run} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, to := range map[string]string{
		"in/good": "in/file", "in/dir": "out", "in/broken": "out/later", "in/x.in": "out/file", "in/loop": "in/loop", "way": "in", "in/torun": "in/run",
	} {
		if err := os.Symlink(filepath.Join(dir, to), filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, f := range []string{"in/file", "out/file", "in/plain"} {
		if err := os.WriteFile(filepath.Join(dir, f), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := Policy{AllowPaths: []string{filepath.Join(dir, "way"), "relative", "rbd:x"}}
	for arg, ok := range map[string]bool{
		"-drive in/good": true, "-drive in/file": true, "-drive way/file": true, "-drive in/new": true, "-drive in/new/newer": true,
		"-drive in/dir/file": false, "-drive in/dir/new": false, "-drive in/broken": false, "-drive in/loop": false, "-drive out/file": false,
		"-drive in/dir/../file": false, "-serial pipe:in/x": false, "-serial pipe:in/plain": true, "-drive in/file/x": false,
		"-drive in/run/a.qmp": false, "-drive in/run": false, "-drive in/torun/a.qmp": false, "-drive in/running": true,
	} {
		option, value, _ := strings.Cut(arg, " ")
		value = strings.Replace(value, "in/", dir+"/in/", 1)
		value = strings.Replace(value, "out/", dir+"/out/", 1)
		value = strings.Replace(value, "way/", dir+"/way/", 1)
		if option == "-drive" {
			value = "format=raw,file=" + value
		}
		_, err := p.Command([]string{"qemu-system-x86_64", "-nodefaults", option, value}, "vm", run)
		if (err == nil) != ok {
			t.Errorf("%s: %v", arg, err)
		}
	}
}

func TestDeviceLink(t *testing.T) {
	for _, test := range []struct {
		dir, name, real string
		want            bool
	}{
		{"/dev/vg0", "/dev/vg0/disk", "/dev/dm-3", true},
		{"/dev/disk/by-id", "/dev/disk/by-id/x", "/dev/sda", true},
		{"/dev/vg0", "/dev/vg1/disk", "/dev/dm-3", false},
		{"/dev/vg0", "/dev/vg0/disk", "/etc/shadow", false},
		{"/srv", "/srv/disk", "/dev/sda", false},
		{"/dev/shm", "/dev/shm/x", "/dev/sda", false},
		{"/dev", "/dev/mqueue/x", "/dev/sda", false},
	} {
		if got := deviceLink(test.dir, test.name, test.real); got != test.want {
			t.Errorf("%+v: %v", test, got)
		}
	}
}

// Whatever is accepted is accepted again and does not change any more: so it was understood. And with a policy that
// allows no path, no path is left where one is opened.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		"-drive\nfile=/srv/vm/a,format=raw", "-device\n{\"driver\":\"e1000\",\"romfile\":\"\"}", "-netdev\nuser,id=n,hostfwd=a",
		"-serial\nunix:/srv/vm/x,server,nowait", "-chardev\nsocket,id=a,path=/srv/vm/x\n-mon\na", "-machine\npc,nousb", "-global\na.b=c",
		"-blockdev\n{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/srv/vm/x\"}}", "-vnc\n:1,reverse", "-hda\nrbd:vms/a",
		"-display\nvnc=unix:/srv/vm/x", "-acpitable\nfile=/srv/vm/a:/srv/vm/b", "-spice\naddr=1.2.3.4", "-fw_cfg\nopt/a,string=b",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		args := strings.Split(s, "\n")
		once, err := judged(networked, args...)
		if err != nil {
			return
		}
		twice, err := judged(networked, once...)
		if err != nil || !slices.Equal(once, twice) {
			t.Errorf("%q\nonce  %q\ntwice %q %v", args, once, twice, err)
		}
		if _, err := judged(Policy{AllowNetwork: true}, args...); err == nil {
			for _, arg := range once {
				if strings.Contains(arg, "/srv/vm/") && !strings.Contains(arg, "string=") && !strings.Contains(s, "-append") && !strings.Contains(s, "-smbios") {
					t.Errorf("%q leaves %q", args, arg)
				}
			}
		}
	})
}

func TestRewriteDisk(t *testing.T) {
	p := Policy{Rewrites: []Rewrite{{"/srv/vm", "/mnt/vm"}, {"/srv/vm/special", "/mnt/other"}}}
	for in, want := range map[string]string{
		"/srv/vm/a": "/mnt/vm/a", "/srv/vm/special/a": "/mnt/other/a", "/etc/a": "/etc/a", "nbd://srv/vm/a": "nbd://srv/vm/a",
		`json:{"file": {"filename": "/srv/vm/a", "driver": "file"}, "driver": "raw", "offset": 4096}`: `json:{"driver":"raw","file":{"driver":"file","filename":"/mnt/vm/a"},"offset":4096}`,
		"json:": "json:", "json:[1": "json:[1",
	} {
		if got := p.RewriteDisk(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
