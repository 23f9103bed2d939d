package render

import (
	"io"
	"strings"

	"github.com/scatter-vm/scatter/scatter"
)

// Findings writes a line per finding, and what to do below those that need it. Errors are those of w.
func Findings(w io.Writer, findings []scatter.Finding) error {
	s := &sections{w: w}
	for _, f := range findings {
		where := "this host"
		if f.Host != "" {
			where = "host " + f.Host
		}
		s.printf("%-8s %s: %s: %s\n", strings.ToUpper(f.Level), where, f.Check, f.Message)
		if f.Remedy != "" && f.Level != "ok" {
			s.printf("%-8s -> %s\n", "", f.Remedy)
		}
	}
	return s.err
}

// Recovered writes where each VM is, and what was done about it. Errors are those of w.
func Recovered(w io.Writer, r *scatter.RecoverReport) error {
	rows := [][]string{{"VM", "WHERE", "HOST", "ACTION"}}
	for _, vm := range r.VMs {
		rows = append(rows, []string{vm.VM, string(vm.Where), vm.Host, vm.Action})
	}
	return table(w, rows)
}
