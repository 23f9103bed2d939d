package lan

import (
	"context"
	"fmt"
)

// bridgeName is what each host that has a bridge calls it.
const bridgeName = "br0"

// Bridge puts a bridge between the host and its link, as hosts have for their guests: the host's address moves to it, and what guests send and
// receive by the bridge shares the link, its rate and its counters. Faults that a host makes of its own packets do not concern those of guests.
func (h *Host) Bridge(ctx context.Context) error {
	if _, err := h.Run(ctx, "sh", "-c", noFirewall); err != nil {
		return err
	}
	n := h.Addr.As4()
	err := script(ctx,
		// An address of its own, or it would have another with each tap. There is no querier to snoop on behind it.
		fmt.Sprintf("ip -n %s link add %s address 02:00:%02x:%02x:%02x:%02x type bridge mcast_snooping 0", h.Namespace, bridgeName, n[0], n[1], n[2], n[3]),
		fmt.Sprintf("ip -n %s address flush dev %s", h.Namespace, linkName),
		fmt.Sprintf("ip -n %s link set %s master %s", h.Namespace, linkName, bridgeName),
		fmt.Sprintf("ip -n %s link set %s addrgenmode none up", h.Namespace, bridgeName),
		fmt.Sprintf("ip -n %s address add %s/%d broadcast + dev %s", h.Namespace, h.Addr, network.Bits(), bridgeName),
		fmt.Sprintf("ip -n %s route add default dev %s", h.Namespace, bridgeName),
	)
	if err == nil {
		h.Interface = bridgeName
	}
	return err
}

// Tap gives the host's bridge a port for a guest's card, unless it has it. Groups do not reach it.
func (h *Host) Tap(ctx context.Context, name string) error {
	if h.Interface != bridgeName {
		return fmt.Errorf("host %s: tap %s: it has no bridge", h.Name, name)
	}
	if _, err := run(ctx, "ip", "-n", h.Namespace, "link", "show", name); err == nil {
		return nil
	}
	return script(ctx,
		fmt.Sprintf("ip -n %s tuntap add dev %s mode tap", h.Namespace, name),
		fmt.Sprintf("ip -n %s link set %s master %s addrgenmode none up", h.Namespace, name, bridgeName),
		fmt.Sprintf("ip -n %s link set %s type bridge_slave mcast_flood off", h.Namespace, name),
	)
}
