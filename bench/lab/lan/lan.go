// Package lan builds, on one machine, a switch and hosts on it, and breaks them.
//
//	source          target1          target2   ...      network namespaces; processes run in them with Host.Command
//	 eth0            eth0             eth0              10.77.0.1, .11, .12 ...; tbf on egress
//	  |               |                |
//	  p0 -- br0 ----- p1 ------------- p2               namespace "switch": IGMP snooping and querier; tbf on egress of
//	                                                    each port, which is the ingress of the host
//
// It needs root, iproute2, nftables and ethtool. Everything is named after the process that made it, so several switches coexist, and New
// removes what killed processes have left behind.
package lan

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
)

// Switch is a switch, and the hosts that are plugged into it.
type Switch struct {
	Dir string // holds a directory for each host

	name string // prefix of all names that are visible outside
	rate int64  // of each port in each direction, bit/s; 0 = not shaped

	mu    sync.Mutex // guards hosts
	hosts []*Host
}

// Ports is how many hosts a switch takes.
const Ports = 201

// network is where all hosts live; the first is .1, others start at .11.
var network = netip.MustParsePrefix("10.77.0.0/24")

var instances atomic.Int64

// New makes a switch without hosts, each port of which is going to carry rate bit/s in each direction, or what it can if that is 0. It first
// removes what processes that have died have left.
func New(ctx context.Context, rate int64) (*Switch, error) {
	if err := Sweep(ctx); err != nil {
		return nil, fmt.Errorf("stale labs: %w", err)
	}
	owner, err := ownName()
	if err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%d", owner, instances.Add(1))
	s := &Switch{Dir: filepath.Join(parentDir, name), name: name, rate: rate}
	if err := os.Mkdir(s.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := s.bridge(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("switch: %w", err), s.Close(), os.RemoveAll(s.Dir))
	}
	return s, nil
}

// bridge makes the bridge. Until the first answers to its querier are due, after half a second, it floods; the querier
// comes last because it takes that time from what is set before. A port that leaves a group stops getting it after 200 ms.
func (s *Switch) bridge(ctx context.Context) error {
	ns := s.namespace()
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

func (s *Switch) namespace() string { return s.name + "-switch" }

// AddHost plugs another host into the switch.
func (s *Switch) AddHost(ctx context.Context, name string) (*Host, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.hosts)
	last := 1 // of the address
	if n > 0 {
		last = 10 + n
	}
	addr := network.Addr().As4()
	addr[3] = byte(last)
	h := &Host{
		Name: name, Namespace: s.name + "-" + name, Interface: linkName, Addr: netip.AddrFrom4(addr),
		Dir: filepath.Join(s.Dir, name), sw: s, number: n, port: fmt.Sprintf("p%d", n),
	}
	if n >= Ports {
		return nil, fmt.Errorf("host %s: the switch has no port left", name)
	}
	s.hosts = append(s.hosts, h)
	if err := h.plug(ctx); err != nil {
		return nil, fmt.Errorf("host %s: %w", name, err)
	}
	return h, nil
}

// Hosts returns all hosts, in the order in which they were added.
func (s *Switch) Hosts() []*Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*Host(nil), s.hosts...)
}

// Close kills every process on the hosts, also those that detached themselves, and removes all but the directory.
func (s *Switch) Close() error { return removeNamespaces(context.Background(), s.name+"-") }
