// Package render writes for people what commands have found, planned and done.
package render

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
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

func share(part, whole int64) string { return fmt.Sprintf("%d %%", units.Percent(part, whole)) }

func pagesLine(p scatter.Pages) string {
	return fmt.Sprintf("pages %d: zero %s, shared %s, unique %s, hot %s", p.Total,
		share(p.Zero, p.Total), share(p.Shared, p.Total), share(p.Unique, p.Total), share(p.Hot, p.Total))
}

// names lists VMs or hosts.
func names(list []string) string { return strings.Join(list, ", ") }
