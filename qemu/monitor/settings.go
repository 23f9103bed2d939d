package monitor

import (
	"context"
	"fmt"
	"maps"
	"slices"
)

type capability struct {
	Capability string `json:"capability"`
	State      bool   `json:"state"`
}

// Capabilities tells which migration capabilities QEMU knows, and which are on.
func (m Migration) Capabilities(ctx context.Context) (map[string]bool, error) {
	var list []capability
	if err := m.conn.Do(ctx, "query-migrate-capabilities", nil, &list); err != nil {
		return nil, err
	}
	caps := make(map[string]bool, len(list))
	for _, e := range list {
		caps[e.Capability] = e.State
	}
	return caps, nil
}

// SetCapabilities switches capabilities; QEMU takes all or none, and none while a migration runs.
func (m Migration) SetCapabilities(ctx context.Context, caps map[string]bool) error {
	list := make([]capability, 0, len(caps))
	for _, name := range slices.Sorted(maps.Keys(caps)) {
		list = append(list, capability{name, caps[name]})
	}
	return m.conn.Do(ctx, "migrate-set-capabilities", map[string]any{"capabilities": list}, nil)
}

// Parameters steer a migration, also while it runs. A nil field is left alone when set, and unknown to this QEMU when
// asked for.
type Parameters struct {
	DowntimeLimit            *uint64 `json:"downtime-limit,omitempty"`             // ms; 1 holds, 0 switches over at once
	MaxBandwidth             *uint64 `json:"max-bandwidth,omitempty"`              // bytes/s; 0 = no limit
	AvailSwitchoverBandwidth *uint64 `json:"avail-switchover-bandwidth,omitempty"` // bytes/s; 0 = measured; QEMU >= 8.2
	MaxPostcopyBandwidth     *uint64 `json:"max-postcopy-bandwidth,omitempty"`     // bytes/s; 0 = no limit
	AnnounceRounds           *uint64 `json:"announce-rounds,omitempty"`
	ThrottleTrigger          *uint64 `json:"throttle-trigger-threshold,omitempty"` // percent
	ThrottleInitial          *uint64 `json:"cpu-throttle-initial,omitempty"`       // percent
	ThrottleIncrement        *uint64 `json:"cpu-throttle-increment,omitempty"`     // percent
	ThrottleMax              *uint64 `json:"max-cpu-throttle,omitempty"`           // percent
	TLSCreds                 *string `json:"tls-creds,omitempty"`                  // "" = no TLS
	Mode                     *string `json:"mode,omitempty"`                       // normal, or a kind of reboot; QEMU >= 8.2
}

// Parameters asks for the parameters in force.
func (m Migration) Parameters(ctx context.Context) (Parameters, error) {
	var p Parameters
	err := m.conn.Do(ctx, "query-migrate-parameters", nil, &p)
	return p, err
}

// SetParameters changes the parameters that are not nil.
func (m Migration) SetParameters(ctx context.Context, p Parameters) error {
	return m.conn.Do(ctx, "migrate-set-parameters", p, nil)
}

// AllowPostcopy lets a target's VM run before all of its pages are there. QEMU refuses where it cannot have processors wait for a page: without
// userfaultfd, or for memory behind a file that is not in memory itself (migration/postcopy-ram.c, postcopy_ram_supported_by_host).
func (m Migration) AllowPostcopy(ctx context.Context) error {
	if err := m.SetCapabilities(ctx, map[string]bool{"postcopy-ram": true}); err != nil {
		return fmt.Errorf("cannot be moved by post-copy: %w", err)
	}
	return nil
}

// PrepareIncoming sets what every target needs before its migration: no announcements of its own, events, and disks that
// stay the source's until the VM runs. Launch has done it; a target of LaunchExternal needs it.
func (m Migration) PrepareIncoming(ctx context.Context) error {
	if err := m.SetParameters(ctx, Parameters{AnnounceRounds: new(uint64(0))}); err != nil {
		return err
	}
	return m.SetCapabilities(ctx, map[string]bool{"events": true, "late-block-activate": true})
}
