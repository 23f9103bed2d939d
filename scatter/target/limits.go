package target

import (
	"github.com/scatter-vm/scatter/multicast"
	"github.com/scatter-vm/scatter/scatter/bounds"
	"github.com/scatter-vm/scatter/scatter/journal"
	"github.com/scatter-vm/scatter/scatter/model"
	"github.com/scatter-vm/scatter/scatter/trial"
)

// limits is what peers make the target hold now. It waits for nothing but the journal's disk, and asks no VM.
func (r *receiver) limits() []bounds.Limit {
	strangers, connections := r.door.Limits()
	return append([]bounds.Limit{strangers, connections, {Resource: "tries", Held: r.tries.Held(), Most: trial.MaxTries},
		{Resource: "journal_bytes", Held: int(r.journal.Size()), Most: journal.MaxJournal}, r.logged.Limit(),
		{Resource: "vm_log_bytes", Held: int(r.vmLogs.Bytes()), Most: bounds.MaxVMLogs}}, r.evacuationLimits()...)
}

// evacuationLimits counts evacuations, and what each of them holds.
func (r *receiver) evacuationLimits() []bounds.Limit {
	evacuations, vms, sockets, window := bounds.Tally{}, bounds.Tally{}, bounds.Tally{}, bounds.Tally{}
	for source, all := range r.evacuating(evacuations, vms) {
		for _, mcast := range all {
			stats := mcast.Stats()
			sockets.Add(source, stats.Sockets)
			window.Add(source, stats.Held)
		}
	}
	return []bounds.Limit{
		evacuations.Limit("evacuations", 1), vms.Limit("vms", maxVMs),
		sockets.Limit("sockets", multicast.MaxSockets+1), window.Limit("window_bytes", model.WindowBytes),
	}
}

// evacuating counts evacuations and VMs, and returns what hears the evacuations' datagrams, by source.
func (r *receiver) evacuating(evacuations, vms bounds.Tally) map[string][]*multicast.Receiver {
	all := make(map[string][]*multicast.Receiver)
	r.mu.Lock()
	defer r.mu.Unlock()
	for key, s := range r.sessions {
		evacuations.Add(key.source, 1)
		if mcast := s.mcast.Load(); mcast != nil {
			all[key.source] = append(all[key.source], mcast)
		}
	}
	for key, g := range r.guests {
		if !g.forgotten {
			vms.Add(key.source, 1)
		}
	}
	return all
}
