// Command modes moves guests that are hard to move, in the ways that scatter and stock QEMU have for such ones, side by side: those that dirty memory
// faster than the link carries, and many that run on their targets before their memory is there.
//
//	go run ./bench/modes [-runs 3] [-checked 20] [-only REGEXP] [-out bench/results/modes.md]
//
// It exits with 1 if a promise is broken. It needs root and bin/scatter, and takes about half an hour on two cores.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/promise"
)

// options are what the caller wants.
type options struct {
	only    *regexp.Regexp // the ways that are measured
	runs    int            // of each
	checked int            // moves in each mode after which all memory is checked
	fleet   string         // mode in which a host with writers is evacuated
	binary  string
	out     string // "": nowhere
}

func main() {
	o := options{}
	only := flag.String("only", "", "regular expression: the ways that are measured; parts of which some are left out are not judged, and nothing is written unless -out says where")
	flag.IntVar(&o.runs, "runs", 3, "runs of each way; the table shows their medians")
	flag.IntVar(&o.checked, "checked", 0, fmt.Sprintf("moves in each mode after which the guest goes through all of its memory; %d are promised, which take half an hour", checkedRuns))
	flag.StringVar(&o.fleet, "fleet-mode", "auto", "the mode in which six guests are evacuated of which two write")
	flag.StringVar(&o.binary, "scatter", "bin/scatter", "the program")
	flag.StringVar(&o.out, "out", "", "where to write the table (default "+results+")")
	flag.Parse()
	promise.Main("modes", func(ctx context.Context) (kept bool, err error) {
		if o.only, err = regexp.Compile(*only); err != nil {
			return false, err
		}
		if o.out == "" && *only == "" {
			o.out = results
		}
		return run(ctx, o)
	})
}

// results is where the table is kept.
var results = filepath.Join("bench", "results", "modes.md")

// mostTargets is how many the lab has.
const mostTargets = 3

// run measures everything and reports whether all promises are kept.
func run(ctx context.Context, o options) (kept bool, err error) {
	restore, err := lab.ShareEqually()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	l, err := lab.New(ctx, lab.Config{Targets: mostTargets, Rate: slow})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	d, err := deploy.New(ctx, l, o.binary)
	if err != nil {
		return false, err
	}
	m := &measurement{lab: l, deployment: d, rounds: make(map[string][]round)}
	t := &promise.Table{Title: "Moving guests that are hard to move", Facts: []string{promise.Guests(), medians}}
	for _, p := range o.parts() {
		ways := slices.DeleteFunc(slices.Clone(p.ways), func(w way) bool { return !o.only.MatchString(w.name) })
		if len(ways) == 0 {
			continue
		}
		if err := m.play(ctx, p, ways); err != nil {
			return false, err
		}
		if err := m.judge(t, p, ways, o.out); err != nil {
			return false, err
		}
	}
	fmt.Print("\n", t.Markdown())
	if o.out == "" {
		return t.Kept(), nil
	}
	return t.Kept(), promise.Write(o.out, t.Markdown())
}

const medians = "medians; the gap is the longest time between two heartbeats of any guest, work lost what they have verified less than usual, until two seconds after the move"

// parts are all that is measured, in turn.
func (o options) parts() []part {
	all := slices.Concat(alone(), []part{calm()}, reading(), fleet(o.fleet), []part{steps()})
	for i := range all {
		all[i].runs = o.runs
	}
	if o.checked > 0 {
		all = append(all, checked(o.checked))
	}
	return all
}
