package traffic

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// namespace puts the test into a network namespace of its own, which ends with the test's thread. IPv6 is off there, so that nobody sends unasked.
func namespace(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread() // and never unlocked, so that the runtime ends the thread
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
}

func ip(t *testing.T, args string) {
	t.Helper()
	if out, err := exec.Command("ip", strings.Fields(args)...).CombinedOutput(); err != nil {
		if strings.Contains(string(out), "Unknown device type") {
			t.Skipf("this kernel has no such devices: ip %s", args)
		}
		t.Fatalf("ip %s: %v: %s", args, err, out)
	}
}

// startQEMU starts a QEMU without a machine, in the test's namespace, and with an open file as number 3.
func startQEMU(t *testing.T, file *os.File, options string) (pid int) {
	t.Helper()
	socket := filepath.Join(kit.ShortDir(t), "qmp")
	cmd := exec.Command(kit.NeedQEMU(t), strings.Fields("-M none -nodefaults -display none -qmp unix:"+socket+",server=on,wait=off "+options)...)
	cmd.Stderr = os.Stderr
	if file != nil {
		cmd.ExtraFiles = []*os.File{file}
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	for range 1000 {
		if hears(socket) {
			return cmd.Process.Pid
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("QEMU does not begin")
	return 0
}

// hears tells whether a QEMU obeys, which it does when it has all of its devices.
func hears(socket string) bool {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		return false
	}
	defer conn.Close()
	fmt.Fprintln(conn, `{"execute": "qmp_capabilities"}`)
	in := bufio.NewScanner(conn)
	in.Scan()        // the greeting
	return in.Scan() // the answer
}

// guest is the test, in the place of a guest on a tap of a QEMU: it sends and receives frames.
type guest struct {
	*net.UnixConn
	options string // of the QEMU
	qemu    *net.UnixAddr
}

// newGuest makes one for the tap with the id "tap".
func newGuest(t *testing.T) guest {
	t.Helper()
	dir := kit.ShortDir(t)
	at := filepath.Join(dir, "guest")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	g := guest{UnixConn: conn, qemu: &net.UnixAddr{Name: filepath.Join(dir, "qemu"), Net: "unixgram"}}
	g.options = fmt.Sprintf(" -netdev hubport,id=a,hubid=0,netdev=tap -netdev hubport,id=b,hubid=0,netdev=guest"+
		" -netdev dgram,id=guest,local.type=unix,local.path=%s,remote.type=unix,remote.path=%s", g.qemu.Name, at)
	return g
}

const (
	frame = 500                 // bytes
	kind  = 0x88b5              // of frames: for experiments
	mac   = "02:00:00:00:00:07" // of the guest
)

// frameTo is a frame to an address.
func frameTo(address string) []byte {
	b := make([]byte, frame)
	to, _ := net.ParseMAC(address)
	copy(b, to)
	copy(b[6:], []byte{2, 0, 0, 0, 0, 9})
	binary.BigEndian.PutUint16(b[12:], kind)
	return b
}

// send sends n frames as the guest.
func (g guest) send(t *testing.T, n int) {
	t.Helper()
	for range n {
		if _, err := g.WriteToUnix(frameTo("ff:ff:ff:ff:ff:ff"), g.qemu); err != nil {
			t.Fatal(err)
		}
	}
}

// receive sends n frames to the guest out of a device of the host, and waits for each.
func (g guest) receive(t *testing.T, device string, n int) {
	t.Helper()
	link, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for range n {
		if err := unix.Sendto(fd, frameTo(mac), 0, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
			t.Fatal(err)
		}
		g.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := g.Read(make([]byte, 2*frame)); err != nil {
			t.Fatal(err)
		}
	}
}

// reader is what can be read: the cards of a VM, or an interface.
type reader func() (Reading, error)

// becomes waits until so much was sent and received since a reading.
func (read reader) becomes(t *testing.T, what string, since Reading, want Bytes) Reading {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		now, err := read()
		if err != nil {
			t.Fatal(err)
		}
		got := Bytes{now.Sent - since.Sent, now.Received - since.Received}
		if got == want {
			return now
		}
		if time.Now().After(end) {
			t.Fatalf("%s: %+v, want %+v", what, got, want)
		}
	}
}

// TestGuestSendsAndReceives: what goes through a real QEMU is counted in its direction, be its tap a tap or a macvtap.
func TestGuestSendsAndReceives(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T) (file *os.File, netdev string)
		far     string // where frames to the guest come from
	}{
		"tap": {func(t *testing.T) (*os.File, string) {
			ip(t, "tuntap add tap@1 mode tap")
			ip(t, "link set tap@1 up")
			return nil, "tap,id=tap,ifname=tap@1,script=no,downscript=no"
		}, "tap@1"},
		"macvtap": {prepareMacvtap, "far"},
	} {
		t.Run(name, func(t *testing.T) {
			namespace(t)
			file, netdev := c.prepare(t)
			g := newGuest(t)
			pid := startQEMU(t, file, "-netdev "+netdev+g.options)
			cards, err := Find(pid, 1)
			if err != nil {
				t.Fatal(err)
			}
			began, err := cards.Read()
			if err != nil {
				t.Fatal(err)
			}
			g.send(t, 7)
			sent := reader(cards.Read).becomes(t, "the guest has sent", began, Bytes{Sent: 7 * frame})
			g.receive(t, c.far, 3)
			both := reader(cards.Read).becomes(t, "the guest has received", sent, Bytes{Received: 3 * frame})
			rate, err := both.Since(began)
			if seconds := rate.Over.Seconds(); err != nil || int(rate.Sent*seconds+0.5) != 7*frame || int(rate.Received*seconds+0.5) != 3*frame {
				t.Errorf("the rate is %+v, %v", rate, err)
			}
		})
	}
}

// prepareMacvtap makes a macvtap on a cable to "far". Its number is one that no other has: all of the host share a directory.
func prepareMacvtap(t *testing.T) (*os.File, string) {
	index := 1<<24 + os.Getpid()
	ip(t, "link add near type veth peer name far")
	ip(t, fmt.Sprintf("link add link near name card index %d address %s type macvtap mode bridge", index, mac))
	for _, device := range []string{"near", "far", "card"} {
		ip(t, "link set "+device+" up")
	}
	file, err := os.OpenFile("/dev/tap"+strconv.Itoa(index), os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return file, "tap,id=tap,fd=3"
}

// TestFindKnowsWhenItDoesNotKnow: a tap with many queues is one, a file with the name of one is none, and cards that no tap serves make what the guest
// sends unknown.
func TestFindKnowsWhenItDoesNotKnow(t *testing.T) {
	namespace(t)
	ip(t, "link add index 77 near type veth peer name far")
	ip(t, "link set near up")
	file, err := os.Create(filepath.Join(t.TempDir(), "tap77"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pid := startQEMU(t, file, "-netdev tap,id=a,ifname=a,queues=4,script=no,downscript=no -netdev tap,id=b,ifname=b,script=no,downscript=no"+
		" -netdev socket,id=c,udp=127.0.0.1:9,localaddr=127.0.0.1:9")
	if c, err := Find(pid, 2); err != nil || len(c.taps) != 2 {
		t.Errorf("with two cards: %+v, %v", c, err)
	}
	for _, cards := range []int{1, 3} {
		if _, err := Find(pid, cards); err == nil || !strings.Contains(err.Error(), "2 taps") {
			t.Errorf("with %d cards: %v", cards, err)
		}
	}
	if _, err := Find(1<<30, 1); err == nil {
		t.Error("found the taps of a process that is not there")
	}
	c, err := Find(pid, 0)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := c.Read(); err != nil || r.Bytes != (Bytes{}) || r.At.IsZero() {
		t.Errorf("without a card: %+v, %v", r, err)
	}
}

// TestTapMadeAnew: what was counted of a tap that is gone, and of another of its name, is not taken for the guest's.
func TestTapMadeAnew(t *testing.T) {
	namespace(t)
	ip(t, "tuntap add tap1 mode tap")
	ip(t, "link set tap1 up")
	g := newGuest(t)
	cards, err := Find(startQEMU(t, nil, "-netdev tap,id=tap,ifname=tap1,script=no,downscript=no"+g.options), 1)
	if err != nil {
		t.Fatal(err)
	}
	g.send(t, 1)
	before := reader(cards.Read).becomes(t, "the guest has sent", Reading{}, Bytes{Sent: frame})
	ip(t, "link delete tap1")
	if r, err := cards.Read(); err == nil {
		t.Errorf("of a tap that is gone: %+v", r)
	}
	ip(t, "tuntap add tap1 mode tap")
	after, err := cards.Read()
	if err != nil {
		t.Fatal(err)
	}
	if rate, err := after.Since(before); err == nil {
		t.Errorf("of another tap: %+v", rate)
	}
}

// TestInterface: a host's own interface counts what the host sends as sent.
func TestInterface(t *testing.T) {
	namespace(t)
	ip(t, "link add eth0 type veth peer name far")
	ip(t, "link set eth0 up")
	ip(t, "link set far up")
	read := func(name string) reader { return func() (Reading, error) { return Interface(name) } }
	near, err := Interface("eth0")
	if err != nil {
		t.Fatal(err)
	}
	far, err := Interface("far")
	if err != nil {
		t.Fatal(err)
	}
	link, err := net.InterfaceByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.Sendto(fd, frameTo(mac), 0, &unix.SockaddrLinklayer{Ifindex: link.Index}); err != nil {
		t.Fatal(err)
	}
	read("eth0").becomes(t, "near end", near, Bytes{Sent: frame})
	read("far").becomes(t, "far end", far, Bytes{Received: frame})
	if r, err := Interface("eth1"); err == nil {
		t.Errorf("of an interface that is not there: %+v", r)
	}
}
