package inspect

import (
	"net/netip"
	"time"

	"github.com/scatter-vm/scatter/scatter/model"
)

// Config configures [Check].
type Config struct {
	Interface string
	Targets   []model.TargetAddr // empty: only this host
	TLSDir    string
	GroupBase netip.Addr
	GroupPort uint16     // UDP port of the groups; default DefaultGroupPort
	Local     netip.Addr // address of Interface that probes come from; default: the one that leads to the targets
	// Hold is how long to wait before targets are probed again, at most MaxHold; 0: they are not. A switch without a querier
	// forgets who listens, most after 260 s.
	Hold time.Duration
	QEMU string // target's QEMU binary; empty = /usr/bin/qemu-system-*
}

// Finding is one result of [Check].
type Finding struct {
	Host    string `json:"host,omitempty"` // empty = this host
	Check   string `json:"check"`
	Level   string `json:"level"` // ok, warning, error
	Message string `json:"message"`
	Remedy  string `json:"remedy,omitempty"`
}
