package scatter

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/qemu/stream"
)

// refusedCapabilities are migration capabilities that change the stream into something that cannot be
// filtered, or the protocol into one that scatter does not drive.
var refusedCapabilities = []string{
	"multifd", "xbzrle", "compress", "postcopy-ram", "postcopy-preempt", "mapped-ram", "x-ignore-shared",
	"background-snapshot", "x-colo", "release-ram", "rdma-pin-all", "block", "zero-copy-send", "switchover-ack", "dirty-limit",
}

// preflight finds out whether QEMU would let the VM go, and keeps the first part of its migration stream: a
// real migration is started and cancelled as soon as it has told its RAM blocks.
func (v *sourceVM) preflight(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	if err := v.checkMigration(ctx); err != nil {
		return err
	}
	if err := v.client.SetCapabilities(ctx, map[string]bool{"return-path": true, "events": true}); err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	herr := v.captureHeader(ctx)
	// Whatever was found, the VM must be left as it was.
	return errors.Join(herr, v.endMigration(ctx))
}

func (v *sourceVM) checkMigration(ctx context.Context) error {
	info, err := v.client.QueryMigrate(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	if !idle(info.Status) {
		return fmt.Errorf("vm %s: a migration is already %s: let it end or cancel it", v.name(), info.Status)
	}
	if len(info.BlockedReasons) > 0 {
		return fmt.Errorf("vm %s: QEMU refuses to migrate it: %s", v.name(), info.BlockedReasons[0])
	}
	caps, err := v.client.Capabilities(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	for _, c := range refusedCapabilities {
		if caps[c] {
			return fmt.Errorf("vm %s: migration capability %s is on: switch it off (migrate-set-capabilities)", v.name(), c)
		}
	}
	v.caps = map[string]bool{"return-path": caps["return-path"], "events": caps["events"]}
	p, err := v.client.Parameters(ctx)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	if p.TLSCreds != nil && *p.TLSCreds != "" {
		return fmt.Errorf("vm %s: migration parameter tls-creds is set: clear it, scatter encrypts by itself", v.name())
	}
	if p.Mode != nil && *p.Mode != "" && *p.Mode != "normal" {
		return fmt.Errorf("vm %s: migration mode %s: set it to normal", v.name(), *p.Mode)
	}
	return nil
}

// maxHeader bounds the part of the stream that preflight keeps.
const maxHeader = 512 << 10

// captureHeader reads the stream up to the end of the ram START section.
func (v *sourceVM) captureHeader(ctx context.Context) error {
	c, err := v.startMigration(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(qmpTimeout)); err != nil {
		return err
	}
	p := stream.NewParser(c, stream.Options{})
	var header []byte
	for ram := false; ; {
		it, err := p.Next()
		if err != nil {
			return fmt.Errorf("vm %s: migration stream: %w", v.name(), noEOF(err))
		}
		if it.Kind == stream.KindPage || it.Kind == stream.KindZero || it.Kind == stream.KindTail || len(header) > maxHeader {
			return fmt.Errorf("vm %s: migration stream: no list of ram blocks before %s", v.name(), it.Kind)
		}
		header = append(header, it.Raw...)
		ram = ram || it.Kind == stream.KindMemSize
		if ram && it.Kind == stream.KindFooter {
			break
		}
	}
	v.header = header
	v.blocks, err = matchBlocks(p.Blocks(), v.vm.Blocks)
	if err != nil {
		return fmt.Errorf("vm %s: %w", v.name(), err)
	}
	return nil
}

// discoverVM opens a VM by its QMP socket.
func discoverVM(ctx context.Context, index int, socket, dir string) (*sourceVM, error) {
	ctx, cancel := context.WithTimeout(ctx, qmpTimeout)
	defer cancel()
	vm, client, err := qemu.Discover(ctx, socket)
	if err != nil {
		return nil, fmt.Errorf("vm at %s: %w", socket, err)
	}
	v := &sourceVM{index: index, vm: vm, client: client, dir: dir, host: -1, paused: vm.Status != "running"}
	if v.mem, err = qemu.OpenMemory(vm.PID, vm.Blocks); err != nil {
		v.close()
		return nil, fmt.Errorf("vm %s: %w", vm.Name, err)
	}
	return v, nil
}
