package qmp

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/system"
)

// WhyClosed asks QEMU why it has closed its migration.
func (s *Source) WhyClosed(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, system.LastWords)
	defer cancel()
	var desc string
	asked := s.await(ctx, func(i qemu.MigrationInfo) (bool, error) {
		desc = i.ErrorDesc
		return i.Status.Ended(), nil
	})
	switch {
	case errors.Is(asked, qemu.ErrMonitorClosed):
		return fmt.Errorf("vm %s: its QEMU has ended", s.VM.Name)
	case desc != "":
		return fmt.Errorf("vm %s: QEMU gave its migration up: %s", s.VM.Name, desc)
	}
	return fmt.Errorf("vm %s: QEMU gave its migration up and does not say why: %w", s.VM.Name, system.NoEOF(err))
}
