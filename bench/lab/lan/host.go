package lan

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// Host is a network namespace with one link to the switch.
type Host struct {
	Name      string
	Namespace string // name for `ip netns`
	Interface string // the link, as seen in the host
	Addr      netip.Addr
	Dir       string // for sockets, serial logs and everything else that belongs to this host

	sw     *Switch
	number int    // 0 is the first
	port   string // the other end of the link, in the switch
	rules  rules
}

// linkName is what each host calls its link.
const linkName = "eth0"

// plug makes the namespace and its link.
func (h *Host) plug(ctx context.Context) error {
	if err := os.Mkdir(h.Dir, 0o755); err != nil {
		return err
	}
	ns := h.sw.namespace()
	err := script(ctx,
		"ip netns add "+h.Namespace,
		fmt.Sprintf("ip link add %s netns %s type veth peer name %s netns %s", linkName, h.Namespace, h.port, ns),
		fmt.Sprintf("ip -n %s link set %s master br0 addrgenmode none up", ns, h.port),
		fmt.Sprintf("ip -n %s link set lo up", h.Namespace),
		fmt.Sprintf("ip -n %s link set %s addrgenmode none up", h.Namespace, linkName),
		fmt.Sprintf("ip -n %s address add %s/%d broadcast + dev %s", h.Namespace, h.Addr, network.Bits(), linkName),
		fmt.Sprintf("ip -n %s route add default dev %s", h.Namespace, linkName),
	)
	if err != nil {
		return err
	}
	return h.SetRate(ctx, h.sw.rate)
}

// Shaping. A veth pair passes up to 64 KiB of merged packets as one, and tbf must be able to let that through at once; so the
// bucket holds twice as much. The queue is that of a switch with a shallow buffer.
const (
	bucketBytes = 128 << 10
	queueTime   = 50 // ms
	minQueue    = 512 << 10
)

// SetRate shapes both directions of the link to rate bit/s, Ethernet headers included; 0 = no limit. Either way the queueing
// discipline counts the bytes, see Traffic; a change of kind begins to count anew.
func (h *Host) SetRate(ctx context.Context, rate int64) error {
	discipline := "handle 1: pfifo limit 10000" // a handle belongs to a kind
	if rate > 0 {
		queue := max(rate/8*queueTime/1000, minQueue)
		discipline = fmt.Sprintf("handle 2: tbf rate %dbit burst %d limit %d", rate, bucketBytes, queue)
	}
	return script(ctx,
		fmt.Sprintf("tc -n %s qdisc replace dev %s root %s", h.Namespace, linkName, discipline),
		fmt.Sprintf("tc -n %s qdisc replace dev %s root %s", h.sw.namespace(), h.port, discipline),
	)
}

// Traffic is what a link has carried since it was made. Bytes are those on the wire from the Ethernet header on: packets that
// the kernel passes along merged count with all the headers that they would have one by one.
type Traffic struct {
	SentBytes, SentPackets, SentDropped             int64 // from the host to the switch
	ReceivedBytes, ReceivedPackets, ReceivedDropped int64 // from the switch to the host
}

// Sub returns t - u.
func (t Traffic) Sub(u Traffic) Traffic {
	return Traffic{
		t.SentBytes - u.SentBytes, t.SentPackets - u.SentPackets, t.SentDropped - u.SentDropped,
		t.ReceivedBytes - u.ReceivedBytes, t.ReceivedPackets - u.ReceivedPackets, t.ReceivedDropped - u.ReceivedDropped,
	}
}

// Traffic reads the counters of the link.
func (h *Host) Traffic(ctx context.Context) (Traffic, error) {
	sent, err1 := queueCounters(ctx, h.Namespace, linkName)
	received, err2 := queueCounters(ctx, h.sw.namespace(), h.port)
	return Traffic{
		sent.Bytes, sent.Packets, sent.Drops,
		received.Bytes, received.Packets, received.Drops,
	}, errors.Join(err1, err2)
}

type counters struct{ Bytes, Packets, Drops int64 }

// queueCounters reads the counters of the root queueing discipline of a device.
func queueCounters(ctx context.Context, namespace, device string) (counters, error) {
	out, err := run(ctx, "tc", "-n", namespace, "-s", "-j", "qdisc", "show", "dev", device, "root")
	if err != nil {
		return counters{}, err
	}
	var list []counters
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 1 {
		return counters{}, fmt.Errorf("counters of %s in %s: %d entries: %w", device, namespace, len(list), err)
	}
	return list[0], nil
}

// WithGroups goes before a program that is to have the kernel's processor controller in a host: what runs there has a /sys of its own without it.
var WithGroups = []string{"sh", "-c", `mount -t tmpfs none /sys/fs/cgroup && mkdir /sys/fs/cgroup/cpu && mount -t cgroup -o cpu none /sys/fs/cgroup/cpu ||
	mount -t cgroup2 none /sys/fs/cgroup || exit; exec "$0" "$@"`}

// Command returns a command that will run in the host.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Namespace, name}, args...)...)
}

// Run runs a command in the host and returns what it prints on stdout; an error holds what it printed on stderr.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	return output(h.Command(ctx, name, args...))
}

// Processes returns the processes in the host that are more than a zombie.
func (h *Host) Processes(ctx context.Context) ([]int, error) { return processesIn(ctx, h.Namespace) }

// In runs open with its thread in the host's namespace, for what stays there, such as sockets.
func (h *Host) In(open func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	defer home.Close()
	there, err := os.Open(filepath.Join("/run/netns", h.Namespace))
	if err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	defer there.Close()
	if err := enter(there); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	err = open()
	if back := enter(home); back != nil {
		runtime.LockOSThread() // once more: a thread that is lost ends with its goroutine
		return errors.Join(err, back)
	}
	return err
}

func enter(namespace *os.File) error {
	return os.NewSyscallError("setns", unix.Setns(int(namespace.Fd()), unix.CLONE_NEWNET))
}
