package scatter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/qemu"
)

// lastWords is how long somebody who has closed a stream is given to say why.
const lastWords = 2 * time.Second

// cutError is the end of a stream where there must be more of it.
type cutError struct{}

func (cutError) Error() string        { return "it was closed before its end" }
func (cutError) Is(target error) bool { return target == io.ErrUnexpectedEOF }

// noEOF keeps the end of something that is not complete from looking like its proper end.
func noEOF(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return cutError{}
	}
	return err
}

// whyEnded finds out why a VM's migration stream ended, by the words of whoever ended it: the source's QEMU where that closed it; else the
// target, which tells by its control connection and so ends ctx.
func (e *evacuation) whyEnded(ctx context.Context, v *sourceVM, err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return v.whyClosed(ctx, err)
	}
	if pause(ctx, lastWords) != nil {
		return context.Cause(ctx)
	}
	return err
}

// whyClosed asks the VM's QEMU why it has closed its migration.
func (v *sourceVM) whyClosed(ctx context.Context, err error) error {
	ctx, cancel := context.WithTimeout(ctx, lastWords)
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
	return fmt.Errorf("vm %s: QEMU gave its migration up and does not say why: %w", v.name(), noEOF(err))
}

// lastWords adds to the end of a connection to the guest's QEMU what that has to say about it.
func (g *guest) lastWords(err error) error {
	ended := errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.ECONNRESET)
	if g.proc == nil || !ended {
		return err
	}
	g.proc.wait(lastWords)
	if tail := g.proc.tail(); tail != "" {
		return fmt.Errorf("QEMU could not load the VM: %s (%w)", tail, err)
	}
	return err
}
