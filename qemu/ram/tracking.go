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
	var kvm struct{ Enabled bool }
	if err := l.monitor.Do(ctx, "query-kvm", nil, &kvm); err != nil || kvm.Enabled {
		return nil, err
	}
	var backends []struct{ ID string }
	if err := l.monitor.Do(ctx, "query-memdev", nil, &backends); err != nil {
		return nil, err
	}
	text, err := human(ctx, l.monitor, "info ramblock")
	if err != nil {
		return nil, err
	}
	offsets, err := blockOffsets(text)
	if err != nil {
		return nil, err
	}
	old := l.monitor.Version()[0] < TCGTracksWrites[0]
	for id, offset := range offsets {
		isRAM := strings.HasSuffix(id, ".ram") || slices.ContainsFunc(backends, func(d struct{ ID string }) bool { return d.ID == id })
		if isRAM && (old || offset > 0) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, nil
}

// blockOffsets reads from the table of "info ramblock" where in all RAM each block lies.
func blockOffsets(text string) (map[string]uint64, error) {
	blocks, err := parseBlocks(text)
	if err != nil {
		return nil, err
	}
	lines := strings.Split(strings.ReplaceAll(text, "\r", ""), "\n")
	columns := 5
	if strings.Contains(lines[0], "HVA") {
		columns = 7
	}
	offsets := make(map[string]uint64, len(blocks))
	for i, b := range blocks {
		var offset uint64
		_, f := cutFields(lines[i+1], columns)
		if err := parseHex(f[2], &offset); err != nil {
			return nil, err
		}
		offsets[b.ID] = offset
	}
	return offsets, nil
}
