package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/model"
)

// refusedCapabilities are migration capabilities that change the stream into something that cannot be
// filtered, or the protocol into one that scatter does not drive.
var refusedCapabilities = []string{
	"multifd", "xbzrle", "compress", "postcopy-ram", "postcopy-preempt", "mapped-ram", "x-ignore-shared", "dirty-bitmaps",
	"background-snapshot", "x-colo", "release-ram", "rdma-pin-all", "block", "zero-copy-send", "switchover-ack", "dirty-limit",
}

// setCapability is how a capability has to be while a VM moves. It is put back afterwards.
var setCapability = map[string]bool{
	"return-path": true, // the way back for the commit
	"events":      true,

	"auto-converge":           false, // would slow the guest down, for QEMU is held in pre-copy on purpose
	"pause-before-switchover": false, // would stop the VM until somebody else lets it go on
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

// SetCapabilities makes capabilities as they have to be.
func (v *VM) SetCapabilities(ctx context.Context) error {
	v.changed.Store(true)
	want := make(map[string]bool)
	for c := range v.caps {
		want[c] = setCapability[c]
	}
	if err := v.Client.SetCapabilities(ctx, want); err != nil {
		return fmt.Errorf("vm %s: %w", v.Name(), err)
	}
	return nil
}

// fitParameters may have any value.
var fitParameters = map[string]string{
	"downtime-limit": "set, and put back", "max-bandwidth": "set, and put back", "avail-switchover-bandwidth": "set, and put back",
	"tls-hostname": "without tls-creds nothing", "tls-authz": "without tls-creds nothing",
	"announce-initial": "of the target", "announce-max": "of the target", "announce-rounds": "of the target", "announce-step": "of the target",
	"throttle-trigger-threshold": "of auto-converge, which is switched off", "cpu-throttle-initial": "likewise",
	"cpu-throttle-increment": "likewise", "cpu-throttle-tailslow": "likewise", "max-cpu-throttle": "likewise",
	"x-vcpu-dirty-limit-period": "of dirty-limit, which is refused", "vcpu-dirty-limit": "likewise",
	"multifd-channels": "of multifd, which is refused", "multifd-compression": "likewise", "multifd-zlib-level": "likewise",
	"multifd-zstd-level": "likewise", "multifd-qatzip-level": "likewise",
	"compress-level": "of compress, which is refused", "compress-threads": "likewise", "compress-wait-thread": "likewise",
	"decompress-threads": "likewise", "xbzrle-cache-size": "of xbzrle, which is refused",
	"max-postcopy-bandwidth": "of post-copy, which is refused", "x-checkpoint-delay": "of x-colo, which is refused",
	"block-incremental": "of block, which is refused", "block-bitmap-mapping": "of dirty-bitmaps, which is refused",
	"direct-io": "of mapped-ram, which is refused", "zero-page-detection": "a zero page that is sent is recognised",
	"cpr-exec-command": "of a mode that is refused",
}

// checkParameters finds parameters that hinder a migration, and remarks on those that it does not know.
func (v *VM) checkParameters(ctx context.Context, p qemu.Parameters, found *model.Problems) error {
	if p.TLSCreds != nil && *p.TLSCreds != "" {
		found.Add(model.Blocker{Problem: "migration parameter tls-creds is set", Remedy: "clear it, scatter encrypts by itself"})
	}
	if p.Mode != nil && *p.Mode != "" && *p.Mode != "normal" {
		found.Add(model.Blocker{Problem: "migration mode " + *p.Mode, Remedy: "set it to normal"})
	}
	var all map[string]json.RawMessage
	if err := v.Client.Do(ctx, "query-migrate-parameters", nil, &all); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if _, fit := fitParameters[name]; fit || name == "tls-creds" || name == "mode" || unset(all[name]) {
			continue
		}
		v.remarks = append(v.remarks, fmt.Sprintf("migration parameter %.60s is %.60s, of which this scatter does not know what it does", name, all[name]))
	}
	return nil
}

// unset tells whether a value is what parameters have that nobody has set.
func unset(value json.RawMessage) bool {
	return slices.Contains([]string{"0", "false", `""`, "[]", "null"}, strings.TrimSpace(string(value)))
}

// checkTracking finds guest RAM of which QEMU would lose writes.
func (v *VM) checkTracking(ctx context.Context, found *model.Problems) error {
	ids, err := v.Client.LosesWrites(ctx)
	if err != nil || len(ids) == 0 {
		return err
	}
	what := "QEMU loses writes of emulated (TCG) guests while it migrates them, with any tool, to all RAM but the first block: " + strings.Join(ids, ", ")
	remedy := "stop the guest first and use --force; or run it with KVM, or with all its RAM in one block"
	if v.Facts.Version[0] < qemu.TCGTracksWrites[0] {
		what, remedy = "QEMU before 9.0 loses writes of emulated (TCG) guests while it migrates them, with any tool", "stop the guest first and use --force; or run it with KVM, or with QEMU 9.0"
	}
	found.Add(model.Blocker{Problem: what, Remedy: remedy, Risk: true})
	return nil
}

// onlyRisks tells whether all that was found may be forced.
func onlyRisks(err error) bool {
	blocked, ok := errors.AsType[*model.BlockedError](err)
	return ok && !slices.ContainsFunc(blocked.Blockers, func(b model.Blocker) bool { return !b.Risk })
}
