package source

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/qemu"
)

// ErrHeld says that a VM cannot be reached because another client has its monitor.
var ErrHeld = errors.New("another client holds its monitor")

// passOverTime is how long a monitor may take to answer before it counts as held.
const passOverTime = 3 * time.Second

// PassOver tells why a QMP socket that a pattern has found leads to no VM to be moved: nobody serves it, its VM has left, or has not come yet. ErrHeld is
// in the chain where a VM lives there that cannot be reached. What else may be wrong with a VM is found by Evacuate.
func PassOver(ctx context.Context, socket string) error {
	ctx, cancel := context.WithTimeout(ctx, passOverTime)
	defer cancel()
	c, err := qemu.Dial(ctx, socket)
	if errors.Is(err, qemu.ErrMonitorBusy) {
		return fmt.Errorf("%w, or it does not answer", ErrHeld)
	}
	if errors.Is(err, syscall.ECONNREFUSED) {
		return errors.New("nobody listens: left over from a QEMU that is gone")
	}
	if err != nil {
		return nil
	}
	defer c.Close()
	s, err := c.Status(ctx)
	if err != nil {
		return nil
	}
	return awayBy(s.Status)
}

// awayBy tells by a run state why a QEMU's VM does not live in it.
func awayBy(status string) error {
	switch status {
	case "inmigrate":
		return errors.New("its VM waits for a migration to come in (inmigrate)")
	case "postmigrate", "finish-migrate":
		return fmt.Errorf("its VM has been migrated away (%s)", status)
	}
	return nil
}
