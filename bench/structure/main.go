// Command structure measures the sizes of the project's packages, functions and types, and holds them against what is promised.
//
//	go run ./bench/structure [-out bench/results/structure.md]
//
// It exits with 1 if a promise is broken.
package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/scatter-vm/scatter/bench/promise"
)

// Bounds that the source is to keep. Tests do not count.
const (
	mostPackageLines   = 2500
	mostFunctionLines  = 110
	mostMethods        = 25
	mostMedianFunction = 12 // lines
)

func main() {
	out := flag.String("out", filepath.Join("bench", "results", "structure.md"), "where to write the table")
	flag.Parse()
	promise.Main("structure", func(context.Context) (bool, error) {
		all, err := survey(".")
		if err != nil {
			return false, err
		}
		t := table(all)
		text := t.Markdown() + "\n" + rooms(all)
		fmt.Print(text)
		return t.Kept(), promise.Write(*out, text)
	})
}

// table holds the sizes against their bounds.
func table(all []room) *promise.Table {
	t := &promise.Table{Title: "The structure of the source", Facts: []string{"tests, and what lies in testdata, do not count; a line is a line, empty or not"}}
	var functions []function
	var kinds []kind
	for _, r := range all {
		functions, kinds = append(functions, r.functions...), append(kinds, r.kinds...)
	}
	largest := all[0]
	longest := slices.MaxFunc(functions, func(a, b function) int { return a.lines - b.lines })
	widest := slices.MaxFunc(kinds, func(a, b kind) int { return a.methods - b.methods })
	t.AtMost("lines of the largest package, "+largest.path, "%.0f", float64(largest.lines), mostPackageLines)
	t.AtMost("lines of the longest function, "+longest.name, "%.0f", float64(longest.lines), mostFunctionLines)
	t.AtMost("methods of the type with the most, "+widest.name, "%.0f", float64(widest.methods), mostMethods)
	t.AtMost("lines of a function, median", "%.0f", float64(promise.Median(functions, linesOf)), mostMedianFunction)
	return t
}

func linesOf(f function) int { return f.lines }

// rooms shows each package.
func rooms(all []room) string {
	lines := [][]string{{"package", "lines", "functions", "median", "longest", "", "most methods", ""}}
	for _, r := range all {
		line := []string{r.path, fmt.Sprint(r.lines), fmt.Sprint(len(r.functions)), "", "", "", "", ""}
		if len(r.functions) > 0 {
			longest := r.functions[0]
			line[3] = fmt.Sprint(promise.Median(r.functions, linesOf))
			line[4], line[5] = fmt.Sprint(longest.lines), longest.name
		}
		if len(r.kinds) > 0 {
			line[6], line[7] = fmt.Sprint(r.kinds[0].methods), r.kinds[0].name
		}
		lines = append(lines, line)
	}
	return promise.Grid(lines)
}
