package qemu

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/tried"
	"github.com/scatter-vm/scatter/qemu/cmdline"
	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// image makes a disk image with qemu-img.
func image(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("qemu-img", append([]string{"create", "-q", "-u"}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("qemu-img %q: %v: %s", args, err, out)
	}
}

// needLandlock fails where the kernel confines nothing: then nothing is shown.
func needLandlock(t *testing.T) {
	t.Helper()
	if files, ports := CanConfine(); !files || !ports {
		t.Fatal("this kernel has no Landlock for files and ports (Linux 6.7)")
	}
}

// TestConfinedToAllowedPaths: what is inside of an image does not lead a QEMU to other files, nor to the network.
func TestConfinedToAllowedPaths(t *testing.T) {
	needLandlock(t)
	dir := kit.ShortDir(t)
	inside, outside := filepath.Join(dir, "in"), filepath.Join(dir, "out")
	for _, d := range []string{inside, outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	image(t, "-f", "raw", outside+"/secret", "1M")
	image(t, "-f", "raw", inside+"/base", "1M")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cases := map[string]struct {
		args []string
		lead bool // outside
	}{
		"inside":    {[]string{"-b", inside + "/base", "-F", "raw"}, false},
		"backing":   {[]string{"-b", outside + "/secret", "-F", "raw"}, true},
		"relative":  {[]string{"-b", "../out/secret", "-F", "raw"}, true},
		"json":      {[]string{"-b", `json:{"driver":"raw","file":{"driver":"file","filename":"` + outside + `/secret"}}`, "-F", "raw"}, true},
		"data-file": {[]string{"-o", "data_file=" + outside + "/data"}, true},
		"network":   {[]string{"-b", fmt.Sprintf("nbd://%s/x", l.Addr()), "-F", "raw"}, true},
	}
	tried.Inputs(t, "contents of an image", len(cases))
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(inside, name)
			image(t, append(append([]string{"-f", "qcow2"}, c.args...), file, "1M")...)
			var confined error
			visits := visitors(l, func() { confined = startsWith(t, LaunchPolicy{AllowPaths: []string{inside}}, file) })
			if (confined == nil) == c.lead {
				t.Errorf("confined: %v", confined)
			}
			if confined != nil && !strings.Contains(confined.Error(), "Permission denied") {
				t.Errorf("it does not start because of something else: %v", confined)
			}
			if visits != 0 {
				t.Errorf("%d connections", visits)
			}
			var free error // the way is there, if nobody bars it
			visits = visitors(l, func() {
				free = startsWith(t, LaunchPolicy{AllowPaths: []string{inside}, Unconfined: true}, file)
			})
			if name == "network" && visits == 0 || name != "network" && free != nil {
				t.Errorf("unconfined: %v, %d connections", free, visits)
			}
		})
	}
}

// visitors counts connections while f does something, and hangs them up.
func visitors(l net.Listener, f func()) (n int) {
	_ = l.(*net.TCPListener).SetDeadline(time.Time{})
	counted := make(chan int)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				counted <- n
				return
			}
			c.Close()
			n++
		}
	}()
	f()
	_ = l.(*net.TCPListener).SetDeadline(time.Now().Add(50 * time.Millisecond)) // for those that are not yet accepted
	return <-counted
}

// startsWith tells why a QEMU does not start with a disk.
func startsWith(t *testing.T, p LaunchPolicy, file string, options ...string) error {
	t.Helper()
	run := filepath.Join(kit.ShortDir(t), "run")
	argv := append([]string{kit.NeedQEMU(t), "-nodefaults", "-M", "pc", "-m", "16", "-drive", "if=none,format=qcow2,file=" + file}, options...)
	c, err := p.Command(argv, "vm", run)
	if err != nil {
		return err
	}
	q, err := Launch(t.Context(), c, nil)
	if err != nil {
		return err
	}
	q.Kill()
	return nil
}

// TestConfinedToItsPorts: a QEMU listens where its command line says, and nowhere else.
func TestConfinedToItsPorts(t *testing.T) {
	needLandlock(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	free := l.Addr().(*net.TCPAddr).Port
	l.Close()
	run := filepath.Join(kit.ShortDir(t), "run")
	p := LaunchPolicy{AllowPorts: []PortRange{{First: uint16(free), Last: uint16(free)}}}
	c, err := p.Command([]string{kit.NeedQEMU(t), "-nodefaults", "-M", "none", "-vnc", "127.0.0.1:" + strconv.Itoa(free-cmdline.FirstVNC)}, "vm", run)
	if free < cmdline.FirstVNC || err != nil {
		t.Fatal(free, err)
	}
	q, err := Launch(t.Context(), c, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer q.Kill()
	for _, port := range []string{"0", strconv.Itoa(free - 1), strconv.Itoa(free + 1)} {
		err := q.Client.Do(t.Context(), "nbd-server-start", map[string]any{"addr": map[string]any{"type": "inet",
			"data": map[string]string{"host": "127.0.0.1", "port": port}}}, nil)
		if err == nil || !strings.Contains(err.Error(), "Permission denied") {
			t.Errorf("port %s: %v", port, err)
		}
	}
}

// TestConfinedReadsFirmware: the firmware of the host is shown to guests, and not written by them.
func TestConfinedReadsFirmware(t *testing.T) {
	needLandlock(t)
	const firmware = "/usr/share/seabios/bios.bin"
	for option, want := range map[string]string{
		"-drive if=pflash,format=raw,readonly=on,file=" + firmware:                 "",
		"-drive if=none,media=cdrom,format=raw,file=" + firmware:                   "",
		"-blockdev driver=file,node-name=a,auto-read-only=on,filename=" + firmware: "",
		"-drive if=pflash,format=raw,file=" + firmware:                             "only read",
		"-blockdev driver=file,node-name=a,filename=" + firmware:                   "only read",
		"-drive if=pflash,format=raw,readonly=off,file=" + firmware:                "only read",
		"-chardev file,id=c,path=" + firmware:                                      "only read",
		"-pflash " + firmware:                                                      "only read",
		"-object memory-backend-file,id=m,size=64K,share=on,mem-path=" + firmware:  "only read",
		`-blockdev {"driver":"raw","node-name":"a","file":{"driver":"file","read-only":true,"filename":"` + firmware + `"},"read-only":true}`: "",
	} {
		for _, allow := range [][]string{nil, {"/usr/share/seabios"}} {
			_, err := LaunchPolicy{AllowPaths: allow}.Command(append([]string{kit.NeedQEMU(t), "-nodefaults"}, strings.Split(option, " ")...), "vm", "/run/x")
			if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
				t.Errorf("%s, %q allowed: %v", option, allow, err)
			}
		}
	}
	run := filepath.Join(kit.ShortDir(t), "run")
	c, err := LaunchPolicy{AllowPaths: []string{"/usr/share"}}.Command([]string{kit.NeedQEMU(t), "-nodefaults", "-M", "none",
		"-blockdev", "driver=file,node-name=a,auto-read-only=on,filename=" + firmware}, "vm", run)
	if err != nil {
		t.Fatal(err)
	}
	c.Argv = append(c.Argv, "-blockdev", "driver=file,node-name=b,filename="+firmware) // as if the policy had been deceived
	if _, err := Launch(t.Context(), c, nil); err == nil || !strings.Contains(err.Error(), "Permission denied") {
		t.Errorf("a writer of firmware: %v", err)
	}
}
