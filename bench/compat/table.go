package compat

import (
	"fmt"
	"strings"
)

// preface is the beginning of the document.
const preface = `# What moves

What a VM is now decides, not what its command line said when it was started. Each line below is a test of the same name, which starts a real QEMU,
does what the line says, runs ` + "`scatter plan` and `scatter send --verify`" + `, and compares both ends from outside: run state, devices, media, disks with
their whole chain and their limits, processors, memory modules, links, balloon. This page is written from these tests, and a test fails when it says anything else
(` + "`go test ./bench/compat -update`" + ` writes it).

- **moves**: on the target the VM is what it was on the source when it was switched over.
- **refused in plan**: ` + "`plan` and `send`" + ` end with status 4 and name VM, reason and remedy; nothing was touched. Beside VMs that can move, the VM stays and the others go.
- **ended**: the VM ended by itself on its way, and is reported so.
- **stays**: the VM is named and goes on as it was.
`

// Table renders the document.
func Table(parts []Part) string {
	var b strings.Builder
	b.WriteString(preface)
	for _, p := range parts {
		fmt.Fprintf(&b, "\n## %s\n\n", p.Title)
		if p.Text != "" {
			fmt.Fprintf(&b, "%s\n\n", p.Text)
		}
		b.WriteString("| | | |\n|---|---|---|\n")
		for _, r := range p.Rows {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", r.Name, r.Verdict, r.remarks())
		}
	}
	return b.String()
}

// remarks is the last cell: why, what to do, what to know.
func (r Row) remarks() string {
	var all []string
	if r.Words != "" {
		all = append(all, "“"+r.Words+"”")
	}
	if r.Remedy != "" {
		all = append(all, "remedy: "+r.Remedy)
	}
	if r.Note != "" {
		all = append(all, r.Note)
	}
	return strings.Join(all, "; ")
}
