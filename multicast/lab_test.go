package multicast

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
)

// lab is a source and targets, each in a network namespace of its own, on one bridge that snoops and queries:
//
//	source 10.77.0.1 --veth--+
//	target 10.77.0.2 --veth--+-- bridge
//	target 10.77.0.3 --veth--+
type lab struct {
	t      testing.TB
	prefix string
	hosts  int
}

// newLab builds a lab of n targets; rate shapes every port of the bridge, "" does not.
func newLab(t testing.TB, n int, rate string) *lab {
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	l := &lab{t: t, prefix: fmt.Sprintf("mc%d", os.Getpid()), hosts: n + 1}
	t.Cleanup(l.remove)
	l.ip("netns", "add", l.name("sw"))
	l.ip("-n", l.name("sw"), "link", "add", "name", "bridge0", "type", "bridge", "mcast_snooping", "1", "mcast_querier", "1",
		"mcast_query_response_interval", "10", "forward_delay", "0")
	l.ip("-n", l.name("sw"), "link", "set", "bridge0", "up")
	for i := range l.hosts {
		l.addHost(i, rate)
	}
	return l
}

func (l *lab) addHost(i int, rate string) {
	ns, port := l.name(i), fmt.Sprintf("p%d", i)
	l.ip("netns", "add", ns)
	l.ip("-n", ns, "link", "add", "eth", "type", "veth", "peer", "name", port, "netns", l.name("sw"))
	l.ip("-n", l.name("sw"), "link", "set", port, "master", "bridge0", "up")
	l.ip("-n", ns, "addr", "add", l.addr(i).String()+"/24", "dev", "eth")
	l.ip("-n", ns, "addr", "add", fmt.Sprintf("fd77::%d/64", i+1), "dev", "eth", "nodad")
	l.ip("-n", ns, "link", "set", "eth", "up")
	l.ip("-n", ns, "link", "set", "lo", "up")
	if rate != "" {
		l.shape(ns, "eth", rate)
		l.shape(l.name("sw"), port, rate)
	}
}

func (l *lab) shape(ns, device, rate string) {
	l.command("tc", "-n", ns, "qdisc", "add", "dev", device, "root", "tbf", "rate", rate, "burst", "80k", "limit", "256k")
}

func (l *lab) remove() {
	for i := range l.hosts {
		_ = exec.Command("ip", "netns", "del", l.name(i)).Run()
	}
	_ = exec.Command("ip", "netns", "del", l.name("sw")).Run()
}

func (l *lab) name(host any) string { return fmt.Sprintf("%s-%v", l.prefix, host) }

func (l *lab) addr(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(i + 1)}) }

func (l *lab) ip(args ...string) { l.command("ip", args...) }

func (l *lab) command(name string, args ...string) {
	l.t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		l.t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// in runs what opens sockets in the namespace of host i.
func (l *lab) in(i int) func(func() error) error {
	return func(open func() error) error {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		there, err := netns.GetFromName(l.name(i))
		if err != nil {
			return err
		}
		defer there.Close()
		if err := netns.Set(there); err != nil {
			return err
		}
		defer func() { _ = netns.Set(home) }()
		return open()
	}
}
