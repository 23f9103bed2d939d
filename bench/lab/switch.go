package lab

import (
	"context"
	"fmt"
	"time"
)

// How long the switch remembers a membership that nobody confirms, in hundredths of a second: what bridges do.
const membershipInterval = 260_00

// LoseQuerier makes the switch forget each membership after a while, as switches do whose querier is gone: it still snoops, and
// still believes in the querier, so it sends groups only to those who have reported lately. The lab's own querier asks
// every two minutes; what it asks in that time does no harm to a test.
func (l *Lab) LoseQuerier(ctx context.Context, after time.Duration) error {
	return l.setBridge(ctx, fmt.Sprintf("mcast_membership_interval %d", max(1, after.Milliseconds()/10)))
}

// FindQuerier undoes LoseQuerier. Memberships that are forgotten by then come back with the next report.
func (l *Lab) FindQuerier(ctx context.Context) error {
	return l.setBridge(ctx, fmt.Sprintf("mcast_membership_interval %d", membershipInterval))
}

// SwitchOff takes all ports of the switch down, and makes it forget all groups.
func (l *Lab) SwitchOff(ctx context.Context) error {
	for _, h := range l.Hosts() {
		if err := h.Cut(ctx); err != nil {
			return err
		}
	}
	return l.setBridge(ctx, "mcast_snooping 0")
}

// SwitchOn starts the switch anew. Like others it floods until answers to its first query are due.
func (l *Lab) SwitchOn(ctx context.Context) error {
	for _, h := range l.Hosts() {
		if err := h.Restore(ctx); err != nil {
			return err
		}
	}
	return l.setBridge(ctx, "mcast_snooping 1")
}

// SpeakIPv6 gives the hosts IPv6 addresses, fd77::N, beside those they have, and the switch one to query memberships from.
func (l *Lab) SpeakIPv6(ctx context.Context) error {
	lines := []string{fmt.Sprintf("ip -n %s address add fe80::ff/64 dev br0 nodad", l.switchNamespace())}
	for i, h := range l.Hosts() {
		for _, prefix := range []string{"fe80", "fd77"} {
			lines = append(lines, fmt.Sprintf("ip -n %s address add %s::%x/64 dev %s nodad", h.Namespace, prefix, i+1, linkName))
		}
	}
	return script(ctx, append(lines, fmt.Sprintf("ip -n %s link set br0 type bridge mcast_mld_version 2 mcast_querier 0", l.switchNamespace()),
		fmt.Sprintf("ip -n %s link set br0 type bridge mcast_querier 1", l.switchNamespace()))...)
}

func (l *Lab) setBridge(ctx context.Context, option string) error {
	return script(ctx, fmt.Sprintf("ip -n %s link set br0 type bridge %s", l.switchNamespace(), option))
}
