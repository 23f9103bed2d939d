package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
)

// Host is a network namespace with one link to the switch.
type Host struct {
	Name      string // "source", "target1", ...
	Namespace string // name for `ip netns`
	Interface string // the link, as seen in the host
	Addr      netip.Addr
	Dir       string // for sockets, serial logs and everything else that belongs to this host

	lab    *Lab
	number int    // 0 is the source
	port   string // the other end of the link, in the switch
	rules  rules
}

// network is where all hosts live; the source is .1, targets start at .11.
var network = netip.MustParsePrefix("10.77.0.0/24")

// linkName is what each host calls its link.
const linkName = "eth0"

// addSwitch makes the bridge. Until the first answers to its querier are due, after half a second, it floods; the querier
// comes last because it takes that time from what is set before. A port that leaves a group stops getting it after 200 ms.
func (l *Lab) addSwitch(ctx context.Context) error {
	ns := l.switchNamespace()
	if _, err := run(ctx, "ip", "netns", "add", ns); err != nil {
		return err
	}
	if _, err := run(ctx, "ip", "netns", "exec", ns, "sh", "-c", noFirewall); err != nil {
		return err
	}
	return script(ctx,
		"ip -n "+ns+" link add br0 type bridge mcast_snooping 1 mcast_igmp_version 3 mcast_query_response_interval 50"+
			" mcast_startup_query_interval 100 mcast_last_member_interval 10",
		"ip -n "+ns+" link set br0 type bridge mcast_querier 1",
		"ip -n "+ns+" link set br0 addrgenmode none up",
	)
}

// noFirewall keeps frames from passing through iptables, as they would where the machine has br_netfilter loaded: a switch does not do
// that.
const noFirewall = `for f in /proc/sys/net/bridge/bridge-nf-call-ip*tables; do [ ! -e $f ] || echo 0 > $f; done`

func (l *Lab) switchNamespace() string { return l.name + "-switch" }

// AddHost plugs another host into the switch.
func (l *Lab) AddHost(ctx context.Context, name string) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.hosts)
	last := 1 // of the address
	if n > 0 {
		last = 10 + n
	}
	addr := network.Addr().As4()
	addr[3] = byte(last)
	h := &Host{
		Name: name, Namespace: l.name + "-" + name, Interface: linkName, Addr: netip.AddrFrom4(addr),
		Dir: filepath.Join(l.Dir, name), lab: l, number: n, port: fmt.Sprintf("p%d", n),
	}
	if n > MaxTargets {
		return nil, fmt.Errorf("host %s: the switch has no port left", name)
	}
	l.hosts = append(l.hosts, h)
	if err := h.plug(ctx); err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return h, nil
}

// plug makes the namespace and its link.
func (h *Host) plug(ctx context.Context) error {
	if err := os.Mkdir(h.Dir, 0o755); err != nil {
		return err
	}
	sw := h.lab.switchNamespace()
	err := script(ctx,
		"ip netns add "+h.Namespace,
		fmt.Sprintf("ip link add %s netns %s type veth peer name %s netns %s", linkName, h.Namespace, h.port, sw),
		fmt.Sprintf("ip -n %s link set %s master br0 addrgenmode none up", sw, h.port),
		fmt.Sprintf("ip -n %s link set lo up", h.Namespace),
		fmt.Sprintf("ip -n %s link set %s addrgenmode none up", h.Namespace, linkName),
		fmt.Sprintf("ip -n %s address add %s/%d broadcast + dev %s", h.Namespace, h.Addr, network.Bits(), linkName),
		fmt.Sprintf("ip -n %s route add default dev %s", h.Namespace, linkName),
	)
	if err != nil {
		return err
	}
	return h.SetRate(ctx, h.lab.config.Rate)
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
		fmt.Sprintf("tc -n %s qdisc replace dev %s root %s", h.lab.switchNamespace(), h.port, discipline),
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
	received, err2 := queueCounters(ctx, h.lab.switchNamespace(), h.port)
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

// Command returns a command that will run in the host.
func (h *Host) Command(ctx context.Context, name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ctx, "ip", append([]string{"netns", "exec", h.Namespace, name}, args...)...)
}

// Run runs a command in the host and returns what it prints on stdout; an error holds what it printed on stderr.
func (h *Host) Run(ctx context.Context, name string, args ...string) (string, error) {
	return output(h.Command(ctx, name, args...))
}
