package render

import (
	"fmt"
	"io"
	"strings"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/scatter"
)

// Report writes what became of each VM, and what the evacuation has cost. Errors are those of w.
func Report(w io.Writer, r *scatter.Report) error {
	s := &sections{w: w}
	rows := [][]string{{"VM", "HOST", "STATE", "MODE", "DOWN-TIME", "CONVERGE", "PASSES", "NOTE"}}
	for _, v := range r.VMs {
		rows = append(rows, []string{v.Name, v.Host, v.State, string(v.Mode), downtime(v), units.FormatSize(v.Bytes), fmt.Sprint(v.Passes), note(v)})
	}
	s.table(rows)
	s.printf("\n%s, %s left the source", units.FormatSeconds(r.TotalTimeS), units.FormatSize(r.SourceBytes))
	if r.Plan.PredictedBytes > 0 {
		s.printf(" (predicted: %s%s)", units.FormatSize(r.Plan.PredictedBytes), inTime(r.Plan.PredictedTimeS))
	}
	s.printf("\nmulticast %s, unicast %s, repair %s, converge %s, control %s\n", units.FormatSize(r.MulticastBytes),
		units.FormatSize(r.UnicastBytes), units.FormatSize(r.RepairBytes), units.FormatSize(r.ConvergeBytes), units.FormatSize(r.ControlBytes))
	s.printf("%s; %d sent again\n", pagesLine(r.Pages), r.Pages.Resent)
	s.printf("groups %d, joins %d, leaves %d\n", r.Group.Count, r.Group.Joins, r.Group.Leaves)
	s.printf("send: %s of CPU, %s of memory%s\n", units.FormatSeconds(r.CPUS), units.FormatSize(r.MemoryBytes), usedThere(r.Hosts))
	for _, warning := range r.Warnings {
		s.printf("warning: %s\n", warning)
	}
	return s.err
}

// usedThere is what the receivers have used.
func usedThere(hosts []scatter.HostReport) string {
	var b strings.Builder
	for _, h := range hosts {
		if h.MemoryBytes > 0 {
			fmt.Fprintf(&b, "; recv on %s: %s, %s", h.Name, units.FormatSeconds(h.CPUS), units.FormatSize(h.MemoryBytes))
		}
	}
	return b.String()
}

func downtime(v scatter.VMReport) string {
	if v.State != "evacuated" {
		return "-"
	}
	return units.FormatSeconds(v.DowntimeMS / 1000)
}

func note(v scatter.VMReport) string {
	switch {
	case v.Cause == "" && v.Verified:
		return "verified"
	case v.Cause == "" && v.PostCopy != nil:
		return fmt.Sprintf("on both hosts for %s, waited for %d pages", units.FormatSeconds(v.PostCopy.ExposedS), v.PostCopy.Faults)
	case v.Cause == "" && v.ThrottledS >= 0.1:
		return fmt.Sprintf("%s of its processors' time were taken", units.FormatSeconds(v.ThrottledS))
	}
	return v.Cause
}
