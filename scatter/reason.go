package scatter

import (
	"context"
	"errors"
	"fmt"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/system"
)

// whyClosed asks the VM's QEMU why it has closed its migration.
func (v *sourceVM) whyClosed(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, system.LastWords)
	defer cancel()
	var desc string
	asked := v.await(ctx, func(i qemu.MigrationInfo) (bool, error) {
		desc = i.ErrorDesc
		return i.Status.Ended(), nil
	})
	switch {
	case errors.Is(asked, qemu.ErrMonitorClosed):
		return fmt.Errorf("vm %s: its QEMU has ended", v.name())
	case desc != "":
		return fmt.Errorf("vm %s: QEMU gave its migration up: %s", v.name(), desc)
	}
	return fmt.Errorf("vm %s: QEMU gave its migration up and does not say why: %w", v.name(), system.NoEOF(err))
}
