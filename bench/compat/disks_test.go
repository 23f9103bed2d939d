//go:build lab

package compat

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// node is a block node.
type node struct {
	Name         string `json:"node-name"`
	Driver       string `json:"drv"`
	File         string
	ReadOnly     bool   `json:"ro"`
	DetectZeroes string `json:"detect_zeroes"`
	Cache        map[string]bool
	throttle
	Bitmaps []struct {
		Name                  string
		Granularity           int64
		Recording, Persistent bool
	} `json:"dirty-bitmaps"`
}

// throttle is the limits of a disk.
type throttle struct {
	BPS      int64 `json:"bps"`
	BPSRead  int64 `json:"bps_rd"`
	BPSWrite int64 `json:"bps_wr"`
	IOPS     int64 `json:"iops"`
	IOPSRd   int64 `json:"iops_rd"`
	IOPSWr   int64 `json:"iops_wr"`
	Group    string
}

// graph is the block graph.
type graph struct {
	nodes map[string]node
	below map[string][]edge // by name of the upper node
}

type edge struct{ child, node string }

// disks lists every drive with its medium: the whole chain of nodes below it, and what is set on each. Nodes that no drive has are no
// part of the VM.
func (l *looker) disks() {
	g := l.graph()
	var drives []struct {
		Device, QDev string
		Removable    bool
		Tray         bool `json:"tray_open"`
		Inserted     *node
	}
	l.ask("query-block", nil, &drives)
	for _, d := range drives {
		medium := "empty"
		if d.Inserted != nil {
			medium = g.tree(d.Inserted.Name)
			if d.Inserted.throttle != (throttle{}) {
				limits := d.Inserted.throttle
				if limits.Group == d.Device || limits.Group == d.QDev {
					limits.Group = "" // of its own: QEMU names it as the drive was called when it got its limits
				}
				medium += fmt.Sprintf(" limits %+v", limits)
			}
		}
		l.add("drive %s removable=%v tray=%v: %s", cmp.Or(d.QDev, d.Device), d.Removable, d.Tray, medium)
	}
}

func (l *looker) graph() graph {
	g := graph{nodes: make(map[string]node), below: make(map[string][]edge)}
	var nodes []node
	l.ask("query-named-block-nodes", map[string]bool{"flat": true}, &nodes)
	for _, n := range nodes {
		g.nodes[n.Name] = n
	}
	var raw struct {
		Nodes []struct {
			ID   int
			Type string
			Name string
		}
		Edges []struct {
			Parent, Child int
			Name          string
		}
	}
	l.ask("x-debug-query-block-graph", nil, &raw)
	names := make(map[int]string)
	for _, n := range raw.Nodes {
		if n.Type == "block-driver" {
			names[n.ID] = n.Name
		}
	}
	for _, e := range raw.Edges {
		if upper, ok := names[e.Parent]; ok {
			g.below[upper] = append(g.below[upper], edge{e.Name, names[e.Child]})
		}
	}
	for _, list := range g.below {
		slices.SortFunc(list, func(a, b edge) int { return cmp.Compare(a.child, b.child) })
	}
	return g
}

// tree writes a node with all below it.
func (g graph) tree(name string) string {
	n, ok := g.nodes[name]
	if !ok {
		return "?" + name
	}
	var b strings.Builder
	b.WriteString(g.line(n))
	for _, e := range g.below[name] {
		fmt.Fprintf(&b, " %s{%s}", e.child, g.tree(e.node))
	}
	return b.String()
}

// madeUpName is that of a node to which nobody has given one: QEMU's, or on the target scatter's.
var madeUpName = regexp.MustCompile(`^(#.*|scatter(-disk|-file-)?\d+)$`)

func (g graph) line(n node) string {
	var b strings.Builder
	b.WriteString(n.Driver)
	if !madeUpName.MatchString(n.Name) {
		b.WriteString(" name=" + n.Name)
	}
	if len(g.below[n.Name]) == 0 {
		b.WriteString(" file=" + n.File)
	}
	fmt.Fprintf(&b, " ro=%v zeroes=%s direct=%v", n.ReadOnly, n.DetectZeroes, n.Cache["direct"])
	for _, m := range n.Bitmaps {
		fmt.Fprintf(&b, " bitmap=%+v", m)
	}
	return b.String()
}
