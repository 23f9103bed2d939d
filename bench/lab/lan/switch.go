package lan

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// How long the switch remembers a membership that nobody confirms, in hundredths of a second: what bridges do.
const membershipInterval = 260_00

// LoseQuerier makes the switch forget each membership after a while, as switches do whose querier is gone: it still snoops, and
// still believes in the querier, so it sends groups only to those who have reported lately. The lab's own querier asks
// every two minutes; what it asks in that time does no harm to a test.
func (s *Switch) LoseQuerier(ctx context.Context, after time.Duration) error {
	return s.set(ctx, fmt.Sprintf("mcast_membership_interval %d", max(1, after.Milliseconds()/10)))
}

// FindQuerier undoes LoseQuerier. Memberships that are forgotten by then come back with the next report.
func (s *Switch) FindQuerier(ctx context.Context) error {
	return s.set(ctx, fmt.Sprintf("mcast_membership_interval %d", membershipInterval))
}

// AskEvery makes the switch's querier ask who listens, now and at each interval of a second or more. Until the first
// answers are due, after half a second, it floods.
func (s *Switch) AskEvery(ctx context.Context, interval time.Duration) error {
	return errors.Join(
		s.set(ctx, fmt.Sprintf("mcast_querier 0 mcast_query_interval %d", interval.Milliseconds()/10)),
		s.set(ctx, "mcast_querier 1"))
}

// StopQuerier ends the switch's own querier. It then knows of none, and sends groups to everybody.
func (s *Switch) StopQuerier(ctx context.Context) error { return s.set(ctx, "mcast_querier 0") }

// Flood switches snooping off, so that groups go to everybody, or on again.
func (s *Switch) Flood(ctx context.Context, on bool) error {
	if on {
		return s.set(ctx, "mcast_snooping 0")
	}
	return s.set(ctx, "mcast_snooping 1")
}

// Off takes all ports of the switch down, and makes it forget all groups.
func (s *Switch) Off(ctx context.Context) error {
	for _, h := range s.Hosts() {
		if err := h.Cut(ctx); err != nil {
			return err
		}
	}
	return s.set(ctx, "mcast_snooping 0")
}

// On starts the switch anew. Like others it floods until answers to its first query are due.
func (s *Switch) On(ctx context.Context) error {
	for _, h := range s.Hosts() {
		if err := h.Restore(ctx); err != nil {
			return err
		}
	}
	return s.set(ctx, "mcast_snooping 1")
}

// WorkApart makes a thread of the kernel do the switch's work for UDP from the host, and what that sets off at the other ends of the
// links, or no longer. Otherwise all of it is done within the system call that sends, and counts as the sender's CPU time. (A veth
// device hands over to NAPI, which can have a thread, if it may merge what arrives: drivers/net/veth.c, veth_skb_is_eligible_for_gro.)
func (h *Host) WorkApart(ctx context.Context, on bool) error {
	port, state, then := h.port, "off", "" // without NAPI there is no thread
	if on {
		state, then = "on", "; echo 1 > /sys/class/net/"+port+"/threaded"
	}
	_, err := run(ctx, "ip", "netns", "exec", h.sw.namespace(), "sh", "-ec",
		fmt.Sprintf("ethtool -K %s gro %s rx-udp-gro-forwarding %s%s", port, state, state, then))
	return err
}

// SpeakIPv6 gives the hosts IPv6 addresses, fd77::N, beside those they have, and the switch one to query memberships from.
func (s *Switch) SpeakIPv6(ctx context.Context) error {
	lines := []string{fmt.Sprintf("ip -n %s address add fe80::ff/64 dev br0 nodad", s.namespace())}
	for i, h := range s.Hosts() {
		for _, prefix := range []string{"fe80", "fd77"} {
			lines = append(lines, fmt.Sprintf("ip -n %s address add %s::%x/64 dev %s nodad", h.Namespace, prefix, i+1, linkName))
		}
	}
	return script(ctx, append(lines, fmt.Sprintf("ip -n %s link set br0 type bridge mcast_mld_version 2 mcast_querier 0", s.namespace()),
		fmt.Sprintf("ip -n %s link set br0 type bridge mcast_querier 1", s.namespace()))...)
}

func (s *Switch) set(ctx context.Context, option string) error {
	return script(ctx, fmt.Sprintf("ip -n %s link set br0 type bridge %s", s.namespace(), option))
}
