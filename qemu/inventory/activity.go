package inventory

import (
	"context"
	"fmt"
	"slices"
	"strings"
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

// ended tells whether a job does nothing any more, but waits to be dismissed.
func (j Job) ended() bool { return slices.Contains([]string{"concluded", "null"}, j.Status) }

// running refuses what a migration would cut off.
func (b *builder) running() {
	for _, j := range b.inv.Jobs {
		if j.ended() {
			continue
		}
		remedy := "let it end, or cancel it (job-cancel)"
		if j.Status == "ready" {
			remedy = "complete it (job-complete), or cancel it (job-cancel)"
		}
		if j.Status == "paused" || j.Status == "standby" {
			remedy = "resume it (job-resume) and let it end, or cancel it (job-cancel)"
		}
		b.refuse(strings.TrimSuffix(fmt.Sprintf("job %s: %s is %s, %d of %d done; %s", j.ID, j.Type, j.Status, j.Current, j.Total, j.Error), "; "), remedy)
	}
	for _, e := range b.inv.Exports {
		b.refuse(fmt.Sprintf("export %s: node %s is exported (%s)", e.ID, e.Node, e.Type), "end it (block-export-del)")
	}
	if b.inv.Dump != "" {
		b.refuse("a dump of the guest's memory is "+b.inv.Dump, "let it end")
	}
	if b.inv.Debugger != "" {
		b.refuse("a debugger may connect to "+b.inv.Debugger, "close it (human-monitor-command: gdbserver none)")
	}
}

// bitmaps refuses bitmaps that would be lost: only those that an image keeps go with it.
func (b *builder) bitmaps() {
	names := make([]string, 0, len(b.inv.Nodes))
	for name := range b.inv.Nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n := b.inv.Nodes[name]
		for _, m := range n.Bitmaps {
			if !m.Persistent && m.Name != "" { // jobs have some without a name
				b.risk(fmt.Sprintf("dirty bitmap %s of %s is in memory only, and would be lost", m.Name, n.File),
					"remove it (block-dirty-bitmap-remove), or make one that is persistent in a qcow2 image")
			}
		}
	}
}

const passwordRemedy = "move it without one, and set it again on the target (set_password); or start the VM with password-secret"

// displays refuses passwords that were given over the monitor: QEMU does not tell them.
func (b *builder) displays() {
	for _, o := range b.all("vnc") {
		if o.get("password") == "on" && o.get("password-secret") == "" {
			b.risk("the password of vnc "+o.get("vnc")+" was given over the monitor, and QEMU does not tell it", passwordRemedy)
		}
	}
	for _, o := range b.all("spice") {
		if o.get("disable-ticketing") != "on" && o.first("password", "password-secret") == "" && o.get("sasl") != "on" {
			b.risk("the password of spice was given over the monitor, and QEMU does not tell it", passwordRemedy)
		}
	}
}
