package rehearsal_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
	"github.com/scatter-vm/scatter/qemu/policy"
	"github.com/scatter-vm/scatter/qemu/rehearsal"
)

// rehearsed is what becomes of options in a try, without what every command line has.
func rehearsed(t *testing.T, options string) (string, error) {
	t.Helper()
	p := policy.Policy{AllowPaths: []string{"/srv/vm", "/dev"}, AllowPrograms: []string{"/etc/qemu-ifup", "/usr/lib/qemu/qemu-bridge-helper"}, AllowNetwork: true}
	c, _, err := p.Rehearsal(append([]string{kit.QEMU, "-nodefaults", "-display", "none"}, strings.Fields(options)...), "try", "/run/tries")
	if err != nil {
		return "", err
	}
	text := strings.Join(c.Argv, " ")
	text = strings.TrimPrefix(text, kit.QEMU+" -name guest=try -nodefaults -display none")
	text, ok := strings.CutSuffix(text, " -monitor none -qmp unix:/run/tries/try.qmp,server=on,wait=off -pidfile /run/tries/try.pid -incoming defer -S")
	if !ok {
		t.Fatalf("got %q", text)
	}
	return strings.TrimSpace(text), nil
}

// TestRehearsalTakesNothing: what a VM has for itself on a host, a try of it leaves alone.
func TestRehearsalTakesNothing(t *testing.T) {
	ifRoot := func(root, other string) string {
		if os.Geteuid() == 0 {
			return root
		}
		return other
	}
	for options, want := range map[string]string{
		"-m 16 -smp 2 -cpu host":                                                    "-m 16 -smp 2 -cpu host",
		"-drive file=/srv/vm/a.qcow2,format=qcow2,if=virtio":                        "-drive file=/srv/vm/a.qcow2,format=qcow2,if=virtio",
		"-mem-prealloc -overcommit mem-lock=on":                                     "",
		"-vnc :1":                                                                   "-vnc none",
		"-vnc unix:/srv/vm/vnc":                                                     "-vnc none",
		"-display vnc=:1":                                                           "-display none",
		"-spice port=5900,disable-ticketing=on":                                     "-spice unix=on,addr=/run/tries/try.1,disable-ticketing=on",
		"-serial tcp::4444,server=on":                                               "-serial null",
		"-serial unix:/srv/vm/s,server=on":                                          "-serial null",
		"-serial file:/srv/vm/log":                                                  "-serial null",
		"-serial pty -serial chardev:c0":                                            "-serial pty -serial chardev:c0",
		"-chardev socket,id=c,path=/srv/vm/s,server=on":                             "-chardev socket,id=c,path=/run/tries/try.1,server=on,wait=off",
		"-chardev socket,id=c,port=4001,host=::,server=on,mux=on":                   "-chardev socket,id=c,mux=on,path=/run/tries/try.1,server=on,wait=off",
		"-chardev socket,id=c,path=/srv/vm/s":                                       "-chardev null,id=c",
		"-chardev file,id=c,path=/srv/vm/log":                                       "-chardev file,id=c,path=/srv/vm/log,append=on",
		"-chardev ringbuf,id=c,size=64K,logfile=/srv/vm/l":                          "-chardev ringbuf,id=c,size=64K,logfile=/srv/vm/l,logappend=on",
		"-chardev serial,id=c,path=/dev/ttyS0":                                      "-chardev null,id=c",
		"-netdev user,id=n,hostfwd=tcp::2022-:22,hostfwd=tcp::8080-:80,restrict=on": "-netdev user,id=n,restrict=on",
		"-netdev bridge,id=n,br=br0":                                                "-netdev bridge,id=n,br=br0",
		"-netdev socket,id=n,listen=:1234":                                          "-netdev hubport,id=n,hubid=0",
		"-netdev tap,id=n,ifname=tap0,script=no,downscript=no,vhost=on":             ifRoot("-netdev tap,id=n,script=no,downscript=no,vhost=on", "-netdev hubport,id=n,hubid=0"),
		`-netdev {"type":"tap","id":"n","ifname":"tap0","script":"no","downscript":"no"}`: ifRoot(
			`-netdev {"downscript":"no","id":"n","script":"no","type":"tap"}`, `-netdev {"hubid":0,"id":"n","type":"hubport"}`),
		"-nic user,hostfwd=tcp::2022-:22":                                             "-nic user",
		"-object memory-backend-ram,id=m,size=1G,prealloc=on":                         "-object memory-backend-ram,id=m,size=1G,prealloc=off",
		`-object {"qom-type":"memory-backend-ram","id":"m","size":1,"prealloc":true}`: `-object {"id":"m","prealloc":false,"qom-type":"memory-backend-ram","size":1}`,
		"-object memory-backend-memfd,id=m,size=1G,hugetlb=on":                        "-object memory-backend-memfd,id=m,size=1G,hugetlb=on,prealloc=off,reserve=off",
		"-object memory-backend-file,id=m,size=1G,mem-path=/srv/vm/m":                 "-object memory-backend-file,id=m,size=1G,mem-path=/srv/vm,prealloc=off",
		"-audiodev wav,id=a,path=/srv/vm/wav":                                         "-audiodev none,id=a",
	} {
		got, err := rehearsed(t, options)
		if err != nil || got != want {
			t.Errorf("%s:\ngot  %s, %v\nwant %s", options, got, err, want)
		}
	}
}

// TestRehearsalsThatWouldTakeSomething are not made, and what the policy refuses is refused all the same.
func TestRehearsalsThatWouldTakeSomething(t *testing.T) {
	for _, options := range []string{
		"-chardev socket,id=c,path=/srv/vm/tpm -tpmdev emulator,id=t,chardev=c", "-chardev socket,id=c,path=/srv/vm/u -netdev vhost-user,id=n,chardev=c",
		"-nic socket,listen=:1234", "-chardev socket,id=c,path=/srv/vm/u -device vhost-user-fs-pci,chardev=c",
	} {
		_, err := rehearsed(t, options)
		if _, ok := errors.AsType[*rehearsal.UntriedError](err); !ok {
			t.Errorf("%s: %v", options, err)
		}
	}
	if _, err := rehearsed(t, "-chardev socket,id=c,path=/srv/vm/tpm -tpmdev emulator,id=t,chardev=c"); err == nil || !strings.Contains(err.Error(), "-tpmdev emulator") {
		t.Errorf("got %v", err)
	}
	if _, err := rehearsed(t, "-drive file=/etc/shadow"); err == nil || !strings.Contains(err.Error(), "outside the allowed ones") {
		t.Errorf("got %v", err)
	}
}

// TestClaimsOfACommandLine: all that a try leaves alone is claimed for the VM.
func TestClaimsOfACommandLine(t *testing.T) {
	p := policy.Policy{AllowPaths: []string{"/srv/vm"}, AllowNetwork: true}
	_, claims, err := p.Rehearsal(strings.Fields(kit.QEMU+" -nodefaults -vnc :3 -chardev socket,id=c,path=/srv/vm/s,server=on -serial unix:/srv/vm/t,server=on "+
		"-netdev user,id=n,hostfwd=tcp:127.0.0.1:2022-:22,hostfwd=tcp::2023-:23 -spice port=5930,disable-ticketing=on"), "try", "/run/tries")
	if err != nil {
		t.Fatal(err)
	}
	ports, sockets := claims.Ports(), claims.Sockets()
	if len(ports) != 4 || ports[0] != 5903 || ports[1] != 2022 || ports[2] != 2023 || ports[3] != 5930 || strings.Join(sockets, " ") != "/srv/vm/s /srv/vm/t" {
		t.Errorf("ports %v, sockets %v", ports, sockets)
	}
}
