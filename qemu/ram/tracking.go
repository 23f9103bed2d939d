package ram

import (
	"context"
	"slices"
	"strings"
)

// TCGTracksWrites is the first QEMU that tracks the writes of emulated (TCG) guests to the first block of their RAM while it migrates them.
var TCGTracksWrites = [2]int{9, 0}

// LosesWrites lists the blocks of guest RAM whose pages may arrive in an old state when QEMU migrates a running guest, with any tool.
// KVM tracks all. Of an emulated (TCG) guest QEMU before 9.0 tracks none; up to now (10.1) only the block at the beginning of its RAM
// addresses: for any other it arms the tracking again at the address within the block, not in all RAM (cpu_physical_memory_sync_dirty_bitmap, which
// leaves out the block's offset). Memory of devices, which has the same fault, is not listed: the guest draws it anew.
func (l Layout) LosesWrites(ctx context.Context) (ids []string, err error) {
	if kvm, err := l.UnderKVM(ctx); err != nil || kvm {
		return nil, err
	}
	backends, err := l.backends(ctx)
	if err != nil {
		return nil, err
	}
	offsets, err := l.offsets(ctx)
	if err != nil {
		return nil, err
	}
	old := l.monitor.Version()[0] < TCGTracksWrites[0]
	for id, offset := range offsets {
		isRAM := strings.HasSuffix(id, ".ram") || slices.Contains(backends, id)
		if isRAM && (old || offset > 0) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// UnderKVM tells whether the guest is not emulated.
func (l Layout) UnderKVM(ctx context.Context) (bool, error) {
	var kvm struct{ Enabled bool }
	err := l.monitor.Do(ctx, "query-kvm", nil, &kvm)
	return kvm.Enabled, err
}

// backends are the ids of objects that are memory.
func (l Layout) backends(ctx context.Context) (ids []string, err error) {
	var all []struct{ ID string }
	err = l.monitor.Do(ctx, "query-memdev", nil, &all)
	for _, b := range all {
		ids = append(ids, b.ID)
	}
	return ids, err
}

// offsets are where in all RAM each block lies.
func (l Layout) offsets(ctx context.Context) (map[string]uint64, error) {
	text, err := human(ctx, l.monitor, "info ramblock")
	if err != nil {
		return nil, err
	}
	rows, err := readTable(text)
	if err != nil {
		return nil, err
	}
	if _, err := blocksOf(rows); err != nil {
		return nil, err
	}
	offsets := make(map[string]uint64, len(rows))
	for _, r := range rows {
		if offsets[r.name], err = r.offset(); err != nil {
			return nil, err
		}
	}
	return offsets, nil
}
