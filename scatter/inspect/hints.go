package inspect

import (
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/multicast/probe"
)

// Of queriers and switches, by RFC 3376 and 3810: how long a querier lets pass between two questions, and how long a membership is
// remembered that nobody has confirmed.
const (
	queryInterval  = 125 * time.Second
	membershipTime = 260 * time.Second
)

// judge says what the observation means: what works, and which setting of which machine is likely wrong.
func (o *observation) judge() []Finding {
	found := []Finding{o.judgeSockets(), o.judgeUnicast()}
	if o.there.NotJoined != "" && !o.grouped() {
		return append(found, foundWarning("multicast", "see there that its interface does multicast, and: sysctl -w "+o.protocol().limits,
			"it cannot join groups, so it would get every shared page by itself: %s", o.there.NotJoined))
	}
	found = append(found, o.judgeMTU()...)
	found = append(found, o.judgeBursts()...)
	found = append(found, o.judgeGroup()...)
	if !o.grouped() {
		return found
	}
	found = append(found, o.judgeFlooding())
	if o.hold > 0 {
		found = append(found, o.judgeQuerier())
	}
	return found
}

func (o *observation) protocol() membershipProtocol { return protocolOf(o.groups[probe.AnySource]) }

// judgeSockets is about what the target has for receiving.
func (o *observation) judgeSockets() Finding {
	const check = "sockets"
	switch t := o.there; {
	case t.Buffer < wantReceiveBuffer:
		return foundWarning(check, fmt.Sprintf("run recv with CAP_NET_ADMIN, or: sysctl -w net.core.rmem_max=%d", wantReceiveBuffer),
			"a socket there may hold %d KiB: datagrams will be lost and repaired under load", t.Buffer>>10)
	case !t.Merges:
		return foundWarning(check, "a kernel with UDP_GRO: Linux 5.0 or later",
			"its system hands datagrams over one by one: much of its CPU above 1 Gbit/s")
	default:
		return foundOK(check, "receive buffer %d KiB, datagrams merged (GRO), %s groups for a socket, MTU %d", t.Buffer>>10, numberOrUnknown(t.Memberships), t.MTU)
	}
}

func numberOrUnknown(n int) string {
	if n < 0 {
		return "an unknown number of"
	}
	return fmt.Sprint(n)
}

// judgeUnicast is about datagrams to the target's own address.
func (o *observation) judgeUnicast() Finding {
	const check, way = "datagrams", "let UDP from this host pass to the target (firewall, routing)"
	if o.reaches(probe.Unicast) {
		return foundOK(check, "unicast datagrams reach it")
	}
	what := "no datagram reaches it, neither by a group nor by unicast: its VMs would go over the control path"
	if o.grouped() {
		what = "groups reach it, unicast datagrams do not: what only it needs would go over the control path"
	}
	if err := o.failed[probe.Unicast]; err != nil {
		return foundError(check, "let UDP out in this host's firewall", "%s. This host's system does not send them: %v", what, err)
	}
	if o.seen(probe.Unicast) {
		return foundError(check, "let UDP from this host in, in the target's firewall (nft, iptables)",
			"%s. Datagrams get to its interface and are dropped behind it", what)
	}
	return foundError(check, way, "%s", what)
}

// judgeMTU is about a path that small packets pass and full ones do not.
func (o *observation) judgeMTU() []Finding {
	const check = "MTU"
	some := false
	for _, path := range []probe.Path{probe.Unicast, probe.AnySource, probe.SourceSpecific} {
		largest := o.largest(path)
		some = some || largest > 0
		if largest == 0 || largest == o.full() {
			continue
		}
		what := fmt.Sprintf("packets of %d bytes reach it, those of %d get lost (MTU here %d, there %d)", largest, o.full(), o.mtu, o.there.MTU)
		if o.there.MTU < o.full() { // which TCP knows, so only datagrams are concerned
			return []Finding{foundError(check, fmt.Sprintf("give both hosts the same MTU: ip link set %s mtu %d here, or a larger one there", o.iface, largest),
				"%s: its VMs would go over the control path", what)}
		}
		return []Finding{foundError(check, fmt.Sprintf("a switch or tunnel on the way takes less than both hosts: raise its MTU (jumbo frames), or: ip link set %s mtu %d on both",
			o.iface, largest), "%s: datagrams and connections would stall, no VM could go there", what)}
	}
	if !some {
		return nil
	}
	return []Finding{foundOK(check, "full packets of %d bytes reach it", o.full())}
}

// judgeBursts is about kernels and network cards of this host that cut bursts up wrongly.
func (o *observation) judgeBursts() []Finding {
	if !o.mangled() {
		return nil
	}
	return []Finding{foundWarning("bursts", fmt.Sprintf("nothing must be done: send finds that out by itself ('send --no-gso' tells it). To spare CPU: another kernel here (Linux 7.0 to 7.1.4 do this), or: ethtool -K %s tx-udp-segmentation off",
		o.iface), "full packets reach it, but none of those that this host's kernel or network card cuts out of bursts")}
}

// judgeGroup is about groups that the target has joined.
func (o *observation) judgeGroup() []Finding {
	const check = "multicast"
	group := o.groups[probe.AnySource]
	switch {
	case o.reaches(probe.AnySource) && o.reaches(probe.SourceSpecific):
		return []Finding{foundOK(check, "groups reach it")}
	case o.reaches(probe.AnySource):
		return []Finding{foundOK(check, "group %s reaches it", group), o.judgeSourceSpecific()}
	case o.reaches(probe.SourceSpecific):
		return []Finding{foundOK(check, "group %s reaches it; one that is joined for any source does not, which is not needed", o.groups[probe.SourceSpecific])}
	case !o.reaches(probe.Unicast):
		return nil // said already
	}
	what := fmt.Sprintf("group %s does not reach it, unicast does: it would get every shared page by itself", group)
	switch err := o.failed[probe.AnySource]; {
	case err != nil:
		return []Finding{foundWarning(check, fmt.Sprintf("let UDP to %s out in this host's firewall", group), "%s. This host's system does not send to it: %v", what, err)}
	case o.seen(probe.AnySource):
		return []Finding{foundWarning(check, fmt.Sprintf("let UDP to %s in, in the target's firewall (nft, iptables), and let rp_filter be", group),
			"%s. Its datagrams get to the target's interface and are dropped behind it", what)}
	case o.there.Blind == "":
		return []Finding{foundWarning(check, o.protocol().snooping()+" or both off, see that the switch understands "+o.protocol().naming+", lift its limits and filters of multicast, and join through the right --interface on the target",
			"%s. Its datagrams do not get as far as the target's interface: a switch keeps them back, or the target's reports from the switch", what)}
	}
	return []Finding{foundWarning(check, o.protocol().snooping()+" or both off, allow UDP to "+group.String()+
		" in firewalls, and join through the right --interface on the target", "%s", what)}
}

// judgeSourceSpecific is about a join that names the source and does not work, while one that does not works.
func (o *observation) judgeSourceSpecific() Finding {
	const check = "source-specific multicast"
	group := o.groups[probe.SourceSpecific]
	if o.there.NotJoined != "" {
		return foundWarning(check, "there: sysctl -w "+o.protocol().limits, "it can join groups only for any source: %s", o.there.NotJoined)
	}
	if o.seen(probe.SourceSpecific) {
		return foundWarning(check, fmt.Sprintf("let UDP to %s in, in the target's firewall", group),
			"group %s gets to the target's interface and is dropped behind it", group)
	}
	return foundWarning(check, "have the switch and its querier speak "+o.protocol().naming+" (a Linux bridge: "+o.protocol().option+")",
		"group %s, joined for this host only, does not reach it; joined for any source it would: each join would take a second longer", group)
}

// judgeFlooding is about groups that the target has not joined.
func (o *observation) judgeFlooding() Finding {
	const check = "flooding"
	group := o.groups[probe.Stranger]
	switch {
	case o.seen(probe.Stranger):
		return foundWarning(check, o.protocol().snooping()+"; snooping may have gone off by itself when there were more groups than its table holds (a Linux bridge: mcast_hash_max)",
			"group %s reaches it although it has not joined: the switch floods multicast, every port gets everything", group)
	case o.there.Blind != "":
		return foundWarning(check, "run recv there with CAP_NET_RAW while you check", "cannot be seen: %s", o.there.Blind)
	}
	return foundOK(check, "group %s, which it has not joined, is kept from it", group)
}

// judgeQuerier is about groups that reached the target before the hold.
func (o *observation) judgeQuerier() Finding {
	const check = "querier"
	for _, path := range []probe.Path{probe.AnySource, probe.SourceSpecific} {
		if o.reaches(path) && !o.kept(path) {
			return foundWarning(check, o.protocol().querier(), "group %s reached it at first, and no more after %v: the switch has forgotten that it listens%s",
				o.groups[path], o.hold, o.silence())
		}
	}
	switch {
	case o.after.Queries > 0:
		return foundOK(check, "%v asks who listens", o.after.Querier)
	case o.there.Blind == "" && o.hold > queryInterval:
		return foundWarning(check, o.protocol().querier(), "nobody has asked who listens for %v: a switch that snoops will forget it", o.hold)
	case o.hold > membershipTime:
		return foundOK(check, "groups still reach it after %v", o.hold)
	}
	return foundOK(check, "groups still reach it after %v; some switches take %v to forget who listens", o.hold, membershipTime)
}

// silence says that no querier was seen, if one would have been.
func (o *observation) silence() string {
	if o.there.Blind == "" && o.after.Queries == 0 {
		return ", and no querier has asked it"
	}
	return ""
}
