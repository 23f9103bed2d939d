package ram

import (
	"context"
	"fmt"
	"os"
	"strconv"
)

// Monitor is a monitor that can be asked: a QMP connection.
type Monitor interface {
	Do(ctx context.Context, command string, arguments, result any, files ...*os.File) error
	Version() [3]int // of QEMU: major, minor, micro
}

// Layout tells where the memory of a guest is, by what its monitor says.
type Layout struct{ monitor Monitor }

// LayoutOf is the layout of the guest whose monitor it is.
func LayoutOf(monitor Monitor) Layout { return Layout{monitor} }

// RAMBlocks lists the guest's memory, with host addresses where QEMU tells them.
func (l Layout) RAMBlocks(ctx context.Context) ([]Block, error) {
	text, err := human(ctx, l.monitor, "info ramblock")
	if err != nil {
		return nil, err
	}
	blocks, err := parseBlocks(text)
	if err != nil {
		return nil, err
	}
	if l.monitor.Version()[0] >= 8 {
		return blocks, nil
	}
	return blocks, l.LocateBlocks(ctx, blocks)
}

// LocateBlocks fills in the host addresses of the blocks that the guest has mapped, where QEMU does not list them.
func (l Layout) LocateBlocks(ctx context.Context, blocks []Block) error {
	text, err := human(ctx, l.monitor, "info mtree -f")
	if err != nil {
		return err
	}
	ranges, err := parseFlatView(text)
	if err != nil {
		return err
	}
	for b, r := range largestRanges(ranges, blocks) {
		if err := l.locate(ctx, b, r); err != nil {
			return fmt.Errorf("ram block %s: %w", b.ID, err)
		}
	}
	return nil
}

// locate fills in the host address of a block by a range of it.
func (l Layout) locate(ctx context.Context, b *Block, r flatRange) error {
	region, host, ok, err := l.hostOf(ctx, r.gpa)
	if err != nil || !ok || region != r.region || host < r.offset {
		return err // or a running guest has changed its map in between
	}
	b.Host = host - r.offset
	return b.check()
}

// Address is where a guest physical address lies in RAM: a block, and the offset in it. Not ok means that there is no RAM, or none
// whose own address is known.
func (l Layout) Address(ctx context.Context, blocks []Block, gpa uint64) (block int, offset uint64, ok bool, err error) {
	_, host, ok, err := l.hostOf(ctx, gpa)
	for i, b := range blocks {
		if ok && b.Host != 0 && host >= b.Host && host-b.Host < b.Length {
			return i, host - b.Host, true, nil
		}
	}
	return 0, 0, false, err
}

// hostOf is where a guest physical address lies in the QEMU process, and in which memory region.
func (l Layout) hostOf(ctx context.Context, gpa uint64) (region string, host uint64, ok bool, err error) {
	text, err := human(ctx, l.monitor, "gpa2hva 0x"+strconv.FormatUint(gpa, 16))
	if err != nil {
		return "", 0, false, err
	}
	region, host, ok = parseGPA2HVA(text)
	return region, host, ok, nil
}

// human executes a command of the monitor for humans and returns its text.
func human(ctx context.Context, monitor Monitor, line string) (string, error) {
	var text string
	err := monitor.Do(ctx, "human-monitor-command", map[string]string{"command-line": line}, &text)
	return text, err
}
