package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flags"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter"
)

type recoverOptions struct {
	runDir, tlsDir string
	runVM          string
	dryRun         bool
}

func newRecover(a *app) *cobra.Command {
	o := &recoverOptions{}
	c := &cobra.Command{
		Use:   "recover --run-dir DIR",
		Short: "After a crash, find out where each VM is and finish or undo its move",
		Long: `recover reads the journal that send or recv left in its run directory, asks the other side, and for
each VM finishes or undoes what can be decided. It never lets a VM run twice: what cannot be decided is left
alone and named. It can be run again at any time.

--run VM is for a target whose source is dead: it runs a VM that is complete and paused here. That is safe only if the
source host, or the VM's QEMU there, will never run again; else the VM runs twice and its disks are lost. Stop 'scatter
recv' for the moment: complete VMs stay as they are.`,
		Annotations: exitHelp(
			"0    every VM is in one known place, or has ended by itself",
			"1    an evacuation is running and owns its journal: wait for it",
			helpUsage,
			"5    a VM is in doubt, or the journal cannot be read: the table says what to do",
			helpCancelled),
		Args: cobra.NoArgs,
		RunE: a.running(slog.LevelWarn, func(ctx context.Context) error { return o.run(ctx, a) }),
	}
	f := c.Flags()
	f.StringVar(&o.runDir, "run-dir", scatter.DefaultRunDir, "`directory` of the journal")
	f.StringVar(&o.tlsDir, "tls-dir", "", "`directory` of this host's certificates (default: the one in the journal)")
	f.StringVar(&o.runVM, "run", "", "on a target whose source is dead for good: run this `VM`, which is complete and paused here")
	f.BoolVar(&o.dryRun, "dry-run", false, "only say what would be done")
	return c
}

func (o *recoverOptions) run(ctx context.Context, a *app) error {
	if err := flags.Required("run-dir", o.runDir != ""); err != nil {
		return err
	}
	// A mistyped directory must not pass for one without trouble.
	if _, err := os.ReadDir(o.runDir); err != nil {
		return usage.Errorf("--run-dir: %w", err)
	}
	if o.tlsDir != "" {
		if err := flags.Absolute(&o.tlsDir); err != nil {
			return err
		}
	}
	v := a.newView(false)
	defer v.Close()
	ctx, stop := a.interruptible(ctx, v)
	defer stop()
	r, err := scatter.Recover(ctx, scatter.RecoverConfig{RunDir: o.runDir, TLSDir: o.tlsDir, DryRun: o.dryRun, Run: o.runVM, Log: v.Log})
	if r != nil {
		if e := a.printRecovered(r); err == nil {
			err = e
		}
	}
	return recoverStatus(r, causeOf(ctx, err))
}

// recoverStatus decides the exit status: anything that is not known is in doubt.
func recoverStatus(r *scatter.RecoverReport, err error) error {
	var inDoubt []string
	if r != nil {
		for _, vm := range r.VMs {
			if vm.Where != scatter.OnSource && vm.Where != scatter.OnTarget && vm.Where != scatter.Ended {
				inDoubt = append(inDoubt, vm.VM)
			}
		}
	}
	_, damaged := errors.AsType[*scatter.JournalError](err)
	switch {
	case len(inDoubt) > 0:
		return &statusError{code: exitInDoubt, err: fmt.Errorf("in doubt: %s%s", names(inDoubt), because(err)), inDoubt: inDoubt}
	case errors.Is(err, scatter.ErrJournalBusy) && !damaged:
		return err
	case err != nil && exitCode(err) == exitFailed:
		return &statusError{code: exitInDoubt, err: fmt.Errorf("recover: %w", err)}
	}
	return err
}
