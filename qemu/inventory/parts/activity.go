package parts

import (
	"context"
	"fmt"
	"slices"
)

// Job is a background job, as QEMU lists it.
type Job struct {
	ID      string `json:"id"`
	Type    string `json:"type"`
	Status  string `json:"status"`
	Current int64  `json:"current-progress"`
	Total   int64  `json:"total-progress"`
	Error   string `json:"error"`
}

// Export is a disk that others reach through this machine.
type Export struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	Node string `json:"node-name"`
}

// activity is what goes on beside the guest.
type activity struct {
	Jobs     []Job
	Exports  []Export
	Dump     string   // status of the last dump, with how far it is
	Debugger string   // where one may connect, "" = nowhere
	Secrets  []string // displays whose password was given over the monitor, or may have been
}

func (inv *Inventory) readActivity(ctx context.Context, m Monitor) error {
	if err := m.Do(ctx, "query-jobs", nil, &inv.Jobs); err != nil {
		return err
	}
	if err := m.Do(ctx, "query-block-exports", nil, &inv.Exports); err != nil {
		return err
	}
	var dump struct {
		Status    string `json:"status"`
		Completed int64  `json:"completed"`
		Total     int64  `json:"total"`
	}
	if err := m.Do(ctx, "query-dump", nil, &dump); err != nil {
		return err
	}
	if dump.Status == "active" {
		inv.Dump = fmt.Sprintf("%s, %d of %d bytes", dump.Status, dump.Completed, dump.Total)
	}
	for _, c := range inv.Chardevs {
		if c.ID == "gdb" {
			inv.Debugger = c.File
		}
	}
	return nil
}

// Ended tells whether a job does nothing any more, but waits to be dismissed.
func (j Job) Ended() bool { return slices.Contains([]string{"concluded", "null"}, j.Status) }
