package lan

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"strings"
)

// Loss is how much of what arrives at a host gets lost.
type Loss struct {
	Fraction float64 // 0 to 1
	UDPOnly  bool    // TCP passes
	// Burst is how many packets are lost in a row, at regular distances, elsewhere in the stream of each host, unless none comes for
	// burstEnds: else one that is sent again and again would be lost for minutes. 0 or 1: each by itself, at random.
	Burst int
	// Merged drops packets as the device hands them on, up to 64 KiB of datagrams that were sent at once: a full socket buffer does that.
	Merged bool
	// Bad is the model of Gilbert and Elliott: the link is bad for so many packets on average, and loses half of them. At most a quarter may get
	// lost in all.
	Bad int
}

func (l Loss) validate() error {
	ways := 0
	for _, is := range []bool{l.Burst > 0, l.Merged, l.Bad > 0} {
		if is {
			ways++
		}
	}
	switch {
	case l.Fraction < 0 || l.Fraction > 1:
		return fmt.Errorf("loss of %v: must be 0 to 1", l.Fraction)
	case l.Burst < 0 || l.Bad < 0 || ways > 1:
		return fmt.Errorf("loss in bursts of %d, merged %t, bad for %d: only one of these, and none below 0", l.Burst, l.Merged, l.Bad)
	case l.Bad > 0 && l.Fraction > 0.25:
		return fmt.Errorf("loss of %v: a link that is bad at times may lose a quarter", l.Fraction)
	}
	return nil
}

// nft returns the rules by which the host with this number loses packets.
func (l Loss) nft(host int) string {
	match := ""
	if l.UDPOnly {
		match = "meta l4proto udp "
	}
	switch {
	case l.Bad > 0:
		return l.badState(match)
	case l.Burst <= 1:
		return fmt.Sprintf("\t\t%snumgen random mod 1000000 < %d drop\n", match, int(l.Fraction*1e6))
	}
	period := int(float64(l.Burst) / l.Fraction)
	first := (host*scatteredBy + l.Burst) % max(period-l.Burst, 1)
	return fmt.Sprintf("\t\tmeta protocol @lively %[1]snumgen inc mod %[2]d %[3]d-%[4]d update @lively { meta protocol timeout %[5]s } drop\n"+
		"\t\t%[1]supdate @lively { meta protocol timeout %[5]s }\n", match, period, first, first+l.Burst-1, burstEnds)
}

// burstEnds is after how long without packets a burst is over; in the kernel, it is some milliseconds more. As what has expired counts until the
// kernel collects it, once a second, the set is large: when it is full, nothing gets lost.
const burstEnds = "20ms"

// badState keeps the state of the link in a set: while it is bad, the set holds the protocol of its packets. The set is large because what was
// taken out counts until the kernel collects it.
func (l Loss) badState(match string) string {
	ends := 1 / float64(l.Bad)
	begins := ends * 2 * l.Fraction / (1 - 2*l.Fraction)
	return fmt.Sprintf("\t\tmeta protocol @bad numgen random mod 1000000 < %[2]d delete @bad { meta protocol }\n"+
		"\t\tmeta protocol != @bad numgen random mod 1000000 < %[3]d add @bad { meta protocol }\n"+
		"\t\tmeta protocol @bad %[1]snumgen random mod 2 == 0 drop\n", match, int(ends*1e6), int(begins*1e6))
}

// scatteredBy is a prime, so that the bursts of different hosts fall in different places.
const scatteredBy = 769

// rules is what a host drops from what arrives.
type rules struct {
	loss      Loss
	blackhole bool
	silent    bool
	reports   int // of those that the host sends from now on, get lost; -1 = all
}

// SetLoss makes the host lose some of the packets that arrive; a Fraction of 0 ends it. While it loses any, unless merged, the switch cuts merged packets
// apart before it hands them over, so that loss hits single datagrams.
func (h *Host) SetLoss(ctx context.Context, loss Loss) error {
	if err := loss.validate(); err != nil {
		return fmt.Errorf("host %s: %w", h.Name, err)
	}
	segments := 65535
	if loss.Fraction > 0 && !loss.Merged {
		segments = 1
	}
	err := script(ctx, fmt.Sprintf("ip -n %s link set %s gso_max_segs %d", h.sw.namespace(), h.port, segments))
	if err != nil {
		return err
	}
	h.rules.loss = loss
	return h.filter(ctx)
}

// BlackholeMulticast makes multicast vanish on its way to the host, while joining groups still seems to work.
func (h *Host) BlackholeMulticast(ctx context.Context, on bool) error {
	h.rules.blackhole = on
	return h.filter(ctx)
}

// Silence drops all packets in both directions while the link stays up, as a broken switch elsewhere would.
func (h *Host) Silence(ctx context.Context, on bool) error {
	h.rules.silent = on
	return h.filter(ctx)
}

// LoseReports makes the next n membership reports (IGMP) of the host get lost; -1: all, 0: none any more.
func (h *Host) LoseReports(ctx context.Context, n int) error {
	h.rules.reports = n
	return h.filter(ctx)
}

// LostReports is how many reports have got lost since LoseReports.
func (h *Host) LostReports(ctx context.Context) (n int, err error) {
	out, err := h.Run(ctx, "nft", "list", "chain", "ip", "lab", "out")
	if err != nil {
		return 0, err
	}
	_, count, found := strings.Cut(out, "counter packets ")
	if !found {
		return 0, nil
	}
	_, err = fmt.Sscan(count, &n)
	return n, err
}

// filter replaces the host's packet filter by what its rules say.
func (h *Host) filter(ctx context.Context) error {
	cmd := h.Command(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(h.rules.nft(h.number))
	_, err := output(cmd)
	return err
}

// nft returns the rules as a script that replaces the table. They sit where packets enter the device: later hooks come after IP,
// which sees multicast only for groups that somebody joined.
func (r rules) nft(host int) string {
	var in, out strings.Builder
	if r.silent {
		in.WriteString("\t\tdrop\n")
		fmt.Fprintf(&out, "\t\toifname %q drop\n", linkName)
	}
	if r.reports != 0 {
		fmt.Fprintf(&out, "\t\tip protocol igmp %scounter drop\n", r.first())
	}
	if r.blackhole {
		in.WriteString("\t\tip daddr 224.0.1.0-239.255.255.255 drop\n")
	}
	if r.loss.Fraction > 0 {
		in.WriteString(r.loss.nft(host))
	}
	return fmt.Sprintf(`table netdev lab
delete table netdev lab
table netdev lab {
	set bad {
		type ether_type
		size 65535
		flags dynamic
	}
	set lively {
		type ether_type
		size 65535
		flags dynamic,timeout
	}
	chain in {
		type filter hook ingress device %[1]s priority 0;
%[2]s	}
}
table ip lab
delete table ip lab
table ip lab {
	chain out {
		type filter hook output priority 0;
%[3]s	}
}
`, linkName, in.String(), out.String())
}

// first matches the reports that get lost.
func (r rules) first() string {
	if r.reports < 0 {
		return ""
	}
	return fmt.Sprintf("numgen inc mod %d < %d ", math.MaxInt32, r.reports)
}

// Hears tells whether the switch has noted that the host listens to a group.
func (h *Host) Hears(ctx context.Context, group netip.Addr) (bool, error) {
	out, err := run(ctx, "ip", "netns", "exec", h.sw.namespace(), "bridge", "mdb", "show")
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(out) {
		if strings.Contains(line, "port "+h.port+" ") && strings.Contains(line, "grp "+group.String()+" ") {
			return true, nil
		}
	}
	return false, nil
}

// Cut takes the link down at the switch: the host loses its carrier, and the switch forgets the groups of the port.
func (h *Host) Cut(ctx context.Context) error { return h.setPort(ctx, "down") }

// Restore takes the link up again.
func (h *Host) Restore(ctx context.Context) error { return h.setPort(ctx, "up") }

func (h *Host) setPort(ctx context.Context, state string) error {
	return script(ctx, fmt.Sprintf("ip -n %s link set %s %s", h.sw.namespace(), h.port, state))
}

// SetMTU sets the MTU of the host's end of its link, and of the switch's.
func (h *Host) SetMTU(ctx context.Context, host, port int) error {
	return script(ctx,
		fmt.Sprintf("ip -n %s link set %s mtu %d", h.sw.namespace(), h.port, port),
		fmt.Sprintf("ip -n %s link set %s mtu %d", h.Namespace, linkName, host),
	)
}
