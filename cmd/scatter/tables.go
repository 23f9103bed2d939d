package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/scatter-vm/scatter/scatter"
)

// table writes rows in columns. The first row is the head.
func table(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(t, strings.TrimRight(strings.Join(row, "\t"), "\t"))
	}
	return t.Flush()
}

// sections writes parts one after another and keeps the first error.
type sections struct {
	w   io.Writer
	err error
}

func (s *sections) printf(format string, args ...any) {
	if s.err == nil {
		_, s.err = fmt.Fprintf(s.w, format, args...)
	}
}

func (s *sections) table(rows [][]string) {
	if s.err == nil && len(rows) > 1 {
		s.err = table(s.w, rows)
	}
}

func share(part, whole int64) string { return fmt.Sprintf("%d %%", percent(part, whole)) }

func pagesLine(p scatter.Pages) string {
	return fmt.Sprintf("pages %d: zero %s, shared %s, unique %s, hot %s", p.Total,
		share(p.Zero, p.Total), share(p.Shared, p.Total), share(p.Unique, p.Total), share(p.Hot, p.Total))
}

// printReport prints a report: a JSON object of type report, or a table and a summary.
func (a *app) printReport(r *scatter.Report) error {
	if a.json {
		return json.NewEncoder(a.stdout).Encode(struct {
			Type string `json:"type"`
			*scatter.Report
		}{"report", r})
	}
	return writeReport(a.stdout, r)
}

func writeReport(w io.Writer, r *scatter.Report) error {
	s := &sections{w: w}
	rows := [][]string{{"VM", "HOST", "STATE", "DOWN-TIME", "CONVERGE", "PASSES", "NOTE"}}
	for _, v := range r.VMs {
		rows = append(rows, []string{v.Name, v.Host, v.State, downtime(v), formatSize(v.Bytes), fmt.Sprint(v.Passes), note(v)})
	}
	s.table(rows)
	s.printf("\n%s, %s left the source", formatSeconds(r.TotalTimeS), formatSize(r.SourceBytes))
	if r.Plan.PredictedBytes > 0 {
		s.printf(" (predicted: %s%s)", formatSize(r.Plan.PredictedBytes), inTime(r.Plan.PredictedTimeS))
	}
	s.printf("\nmulticast %s, unicast %s, repair %s, converge %s, control %s\n", formatSize(r.MulticastBytes),
		formatSize(r.UnicastBytes), formatSize(r.RepairBytes), formatSize(r.ConvergeBytes), formatSize(r.ControlBytes))
	s.printf("%s; %d sent again\n", pagesLine(r.Pages), r.Pages.Resent)
	s.printf("groups %d, joins %d, leaves %d\n", r.Group.Count, r.Group.Joins, r.Group.Leaves)
	s.printf("send: %s of CPU, %s of memory%s\n", formatSeconds(r.CPUS), formatSize(r.MemoryBytes), usedThere(r.Hosts))
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
			fmt.Fprintf(&b, "; recv on %s: %s, %s", h.Name, formatSeconds(h.CPUS), formatSize(h.MemoryBytes))
		}
	}
	return b.String()
}

func downtime(v scatter.VMReport) string {
	if v.State != "evacuated" {
		return "-"
	}
	return formatSeconds(v.DowntimeMS / 1000)
}

func note(v scatter.VMReport) string {
	if v.Cause == "" && v.Verified {
		return "verified"
	}
	return v.Cause
}
