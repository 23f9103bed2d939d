// Command placement measures what placements cost: scatter's beside those that an operator would make by hand or with a simple rule, on
// fleets whose memory is made up like that of measured ones and on shapes whose best placement is known. It holds the
// results against what scatter promises.
//
//	go run ./bench/placement [-long 30s] [-small 500] [-out bench/results/placement.md]
//
// It exits with 1 if a promise is broken, and takes about five minutes on two cores; with -long 10m half an hour. Each problem can be printed by
// `scatter bench problem`, but for those of package bench/problem's other shapes.
package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/promise"
)

func main() {
	long := flag.Duration("long", 30*time.Second, "how long the search may take that a usual one is compared with")
	small := flag.Int("small", 500, "number of small problems")
	out := flag.String("out", filepath.Join("bench", "results", "placement.md"), "where to write the table; the plot goes beside it")
	flag.Parse()
	promise.Main("placement", func(ctx context.Context) (bool, error) { return run(ctx, *long, *small, *out) })
}

// run measures everything and reports whether all promises are kept.
func run(ctx context.Context, long time.Duration, small int, out string) (kept bool, err error) {
	tiny, err := solveSmall(ctx, small)
	if err != nil {
		return false, err
	}
	var all []result
	for _, c := range cases() {
		r, err := measure(ctx, c, long)
		if err != nil {
			return false, fmt.Errorf("%s: %w", c.name, err)
		}
		fmt.Println(r)
		all = append(all, r)
	}
	table := promises(tiny, all, long)
	plotFile := strings.TrimSuffix(out, filepath.Ext(out)) + ".svg"
	text := table.Markdown() + "\n" + grid(all) + fmt.Sprintf("\n![cost of placements](%s)\n", filepath.Base(plotFile))
	fmt.Print("\n", text)
	if err := promise.Write(plotFile, plot(all)); err != nil {
		return false, err
	}
	return table.Kept(), promise.Write(out, text)
}
