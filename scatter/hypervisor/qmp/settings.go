package qmp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/hypervisor"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/remedy"
)

// refusedCapabilities are migration capabilities that change the stream into something that cannot be
// filtered, or the protocol into one that scatter does not drive.
var refusedCapabilities = []string{
	"multifd", "xbzrle", "compress", "postcopy-preempt", "mapped-ram", "x-ignore-shared", "dirty-bitmaps",
	"background-snapshot", "x-colo", "release-ram", "rdma-pin-all", "block", "zero-copy-send", "switchover-ack", "dirty-limit",
}

// setCapability is how a capability has to be while a VM moves. It is put back afterwards.
var setCapability = map[string]bool{
	"return-path": true, // the way back for the commit
	"events":      true,

	"auto-converge":           false, // would slow the guest down, for QEMU is held in pre-copy on purpose; on only where we steer it
	"pause-before-switchover": false, // would stop the VM until somebody lets it go on; on only where its disks are to follow it first
	"postcopy-ram":            false, // on only where the VM may take over before it has all of its memory
	"validate-uuid":           false, // the target's QEMU is started for this VM and no other
}

// fitCapabilities may be on.
var fitCapabilities = map[string]string{
	"late-block-activate": "concerns the target, where it is set anyway",
	"zero-blocks":         "concerns the migration of disks, which is refused",
	"postcopy-blocktime":  "counts in post-copy only",
}

// unfitCapabilities names the capabilities that are on and may not be, those that scatter does not know among them.
func unfitCapabilities(caps map[string]bool) (all []error) {
	for _, c := range slices.Sorted(maps.Keys(caps)) {
		_, set := setCapability[c]
		_, fit := fitCapabilities[c]
		what := "migration capability " + c + " is on"
		switch {
		case !caps[c] || set || fit:
			continue
		case !slices.Contains(refusedCapabilities, c):
			what += ", of which this scatter does not know what it does"
		}
		all = append(all, model.Blocker{Problem: what, Remedy: "switch it off (migrate-set-capabilities)"})
	}
	return all
}

// capabilitiesToSet is what is to be put back of what is going to be set.
func capabilitiesToSet(caps map[string]bool) map[string]bool {
	now := make(map[string]bool)
	for c := range setCapability {
		if on, known := caps[c]; known {
			now[c] = on
		}
	}
	return now
}

// Ready makes capabilities as they have to be.
func (s *Source) Ready(ctx context.Context, postCopy bool) error {
	s.changed.Store(true)
	want := make(map[string]bool)
	for c := range s.had.Caps {
		want[c] = setCapability[c]
	}
	if _, known := want["postcopy-ram"]; known {
		want["postcopy-ram"] = postCopy
	}
	return s.named(s.SetCapabilities(ctx, want))
}

// Settings are those that Examine has found.
func (s *Source) Settings() hypervisor.Settings { return s.had }

// Restore gives QEMU back the migration settings that it had. The VM's place does not hang on it.
func (s *Source) Restore(ctx context.Context) error {
	if s.had.Caps == nil || !s.Unsettled() {
		return nil
	}
	err := errors.Join(s.DropMirrors(ctx), s.dropOthers(ctx), s.SetCapabilities(ctx, s.had.Caps), s.SetParameters(ctx, s.had.Params))
	s.changed.Store(err != nil)
	return err
}

// Unsettled tells whether QEMU has other migration settings than it had, or mirrors, and lives.
func (s *Source) Unsettled() bool { return (s.changed.Load() || s.mirrored()) && s.proc.Alive() }

// checkMigration finds all that hinders a migration, or bends it, and notes what is to be put back after it.
func (s *Source) checkMigration(ctx context.Context) (remarks []string, err error) {
	info, err := s.QueryMigrate(ctx)
	if err != nil {
		return nil, s.named(err)
	}
	var found model.Problems
	if !info.Status.Idle() {
		found.Add(model.Blocker{VM: s.VM.Name, Problem: fmt.Sprintf("a migration is already %s", info.Status), Remedy: "let it end, or cancel it (migrate_cancel)"})
	}
	for _, why := range info.BlockedReasons {
		found.Add(model.Blocker{VM: s.VM.Name, Problem: "QEMU refuses to migrate it: " + why, Remedy: remedy.For(why)})
	}
	caps, err := s.Capabilities(ctx)
	if err != nil {
		return nil, s.named(err)
	}
	for _, why := range unfitCapabilities(caps) {
		found.Add(why)
	}
	s.had.Caps = capabilitiesToSet(caps)
	p, err := s.Parameters(ctx)
	if err != nil {
		return nil, s.named(err)
	}
	s.had.Params = qemu.Parameters{DowntimeLimit: p.DowntimeLimit, MaxBandwidth: p.MaxBandwidth, AvailSwitchoverBandwidth: p.AvailSwitchoverBandwidth,
		ThrottleTrigger: p.ThrottleTrigger, ThrottleInitial: p.ThrottleInitial, ThrottleIncrement: p.ThrottleIncrement, ThrottleMax: p.ThrottleMax}
	if remarks, err = s.checkParameters(ctx, p, &found); err != nil {
		return nil, s.named(err)
	}
	if err := s.checkTracking(ctx, &found); err != nil {
		return nil, s.named(err)
	}
	return remarks, found.Err()
}

// fitParameters may have any value.
var fitParameters = map[string]string{
	"downtime-limit": "set, and put back", "max-bandwidth": "set, and put back", "avail-switchover-bandwidth": "set, and put back",
	"tls-hostname": "without tls-creds nothing", "tls-authz": "without tls-creds nothing",
	"announce-initial": "of the target", "announce-max": "of the target", "announce-rounds": "of the target", "announce-step": "of the target",
	"throttle-trigger-threshold": "set where a VM may be throttled, and put back", "cpu-throttle-initial": "likewise",
	"cpu-throttle-increment": "likewise", "cpu-throttle-tailslow": "likewise", "max-cpu-throttle": "likewise",
	"x-vcpu-dirty-limit-period": "of dirty-limit, which is refused", "vcpu-dirty-limit": "likewise",
	"multifd-channels": "of multifd, which is refused", "multifd-compression": "likewise", "multifd-zlib-level": "likewise",
	"multifd-zstd-level": "likewise", "multifd-qatzip-level": "likewise",
	"compress-level": "of compress, which is refused", "compress-threads": "likewise", "compress-wait-thread": "likewise",
	"decompress-threads": "likewise", "xbzrle-cache-size": "of xbzrle, which is refused",
	"max-postcopy-bandwidth": "of a part of the stream that is read at most to end it", "x-checkpoint-delay": "of x-colo, which is refused",
	"block-incremental": "of block, which is refused", "block-bitmap-mapping": "of dirty-bitmaps, which is refused",
	"direct-io": "of mapped-ram, which is refused", "zero-page-detection": "a zero page that is sent is recognised",
	"cpr-exec-command": "of a mode that is refused",
}

// checkParameters finds parameters that hinder a migration, and remarks on those that it does not know.
func (s *Source) checkParameters(ctx context.Context, p qemu.Parameters, found *model.Problems) (remarks []string, err error) {
	if p.TLSCreds != nil && *p.TLSCreds != "" {
		found.Add(model.Blocker{Problem: "migration parameter tls-creds is set", Remedy: "clear it, scatter encrypts by itself"})
	}
	if p.Mode != nil && *p.Mode != "" && *p.Mode != "normal" {
		found.Add(model.Blocker{Problem: "migration mode " + *p.Mode, Remedy: "set it to normal"})
	}
	var all map[string]json.RawMessage
	if err := s.Do(ctx, "query-migrate-parameters", nil, &all); err != nil {
		return nil, err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, fit := fitParameters[name]; fit || name == "tls-creds" || name == "mode" || unset(all[name]) {
			continue
		}
		remarks = append(remarks, fmt.Sprintf("migration parameter %.60s is %.60s, of which this scatter does not know what it does", name, all[name]))
	}
	return remarks, nil
}

// unset tells whether a value is what parameters have that nobody has set.
func unset(value json.RawMessage) bool {
	return slices.Contains([]string{"0", "false", `""`, "[]", "null"}, strings.TrimSpace(string(value)))
}

// checkTracking finds guest RAM of which QEMU would lose writes.
func (s *Source) checkTracking(ctx context.Context, found *model.Problems) error {
	ids, err := s.LosesWrites(ctx)
	if err != nil || len(ids) == 0 {
		return err
	}
	what := "QEMU loses writes of emulated (TCG) guests while it migrates them, with any tool, to all RAM but the first block: " + strings.Join(ids, ", ")
	remedy := "stop the guest first and use --force; or run it with KVM, or with all its RAM in one block"
	if s.VM.Version[0] < qemu.TCGTracksWrites[0] {
		what, remedy = "QEMU before 9.0 loses writes of emulated (TCG) guests while it migrates them, with any tool", "stop the guest first and use --force; or run it with KVM, or with QEMU 9.0"
	}
	found.Add(model.Blocker{Problem: what, Remedy: remedy, Risk: true})
	return nil
}
