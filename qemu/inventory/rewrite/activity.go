package rewrite

import (
	"fmt"
	"slices"
	"strings"
)

// interruptions are what goes on beside the guest and would not go on after a migration.
type interruptions struct{ *rewriting }

func (i interruptions) refuse() {
	i.running()
	i.bitmaps()
	i.displays()
}

// running refuses what a migration would cut off.
func (i interruptions) running() {
	for _, j := range i.inv.Jobs {
		if j.Ended() {
			continue
		}
		remedy := "let it end, or cancel it (job-cancel)"
		if j.Status == "ready" {
			remedy = "complete it (job-complete), or cancel it (job-cancel)"
		}
		if j.Status == "paused" || j.Status == "standby" {
			remedy = "resume it (job-resume) and let it end, or cancel it (job-cancel)"
		}
		i.cannot(strings.TrimSuffix(fmt.Sprintf("job %s: %s is %s, %d of %d done; %s", j.ID, j.Type, j.Status, j.Current, j.Total, j.Error), "; "), remedy)
	}
	for _, e := range i.inv.Exports {
		if strings.HasPrefix(e.ID, "scatter-") {
			continue // left by one that was killed, and removed by the next
		}
		i.cannot(fmt.Sprintf("export %s: node %s is exported (%s)", e.ID, e.Node, e.Type), "end it (block-export-del)")
	}
	if i.inv.Dump != "" {
		i.cannot("a dump of the guest's memory is "+i.inv.Dump, "let it end")
	}
	if i.inv.Debugger != "" {
		i.cannot("a debugger may connect to "+i.inv.Debugger, "close it (human-monitor-command: gdbserver none)")
	}
}

// bitmaps refuses bitmaps that would be lost: only those that an image keeps go with it.
func (i interruptions) bitmaps() {
	names := make([]string, 0, len(i.inv.Nodes))
	for name := range i.inv.Nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		n := i.inv.Nodes[name]
		for _, m := range n.Bitmaps {
			if !m.Persistent && m.Name != "" { // jobs have some without a name
				i.risk(fmt.Sprintf("dirty bitmap %s of %s is in memory only, and would be lost", m.Name, n.File),
					"remove it (block-dirty-bitmap-remove), or make one that is persistent in a qcow2 image")
			}
		}
	}
}

const passwordRemedy = "move it without one, and set it again on the target (set_password); or start the VM with password-secret"

// displays refuses passwords that were given over the monitor: QEMU does not tell them.
func (i interruptions) displays() {
	for _, o := range i.all("vnc") {
		if o.get("password") == "on" && o.get("password-secret") == "" {
			i.risk("the password of vnc "+o.get("vnc")+" was given over the monitor, and QEMU does not tell it", passwordRemedy)
		}
	}
	for _, o := range i.all("spice") {
		if o.get("disable-ticketing") != "on" && o.first("password", "password-secret") == "" && o.get("sasl") != "on" {
			i.risk("the password of spice was given over the monitor, and QEMU does not tell it", passwordRemedy)
		}
	}
}
