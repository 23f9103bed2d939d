// Command multicast measures how fast one source gets the same bytes to many targets, by package multicast and by the tools that an
// operator could take instead, side by side on the same links, and holds the results against what scatter promises.
//
//	go run ./bench/multicast [-runs 5] [-size 256] [-rates 100,500,0] [-targets 1,2,4,8] [-loss 0,0.1,1,5] [-busy 8] [-slow] [-patterns] [-keep]
//
// Without arguments it measures what fits into a quarter of an hour; -full is everything, and takes about nine hours; -slow is what one
// slow target costs seven others, of which each run waits until it has the payload, too (with -keep: added to the rest);
// -patterns is what it costs in which pattern packets get lost (likewise). It exits with 1 if a promise is broken. It needs root and what
// `bench/setup.sh peers` fetches.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/scatter-vm/scatter/bench/promise"
)

func main() {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		promise.Main(os.Args[1], func(ctx context.Context) (bool, error) { return true, roles[os.Args[1]](ctx, os.Args[2:]) })
		return
	}
	o := parse()
	promise.Main("multicast", func(ctx context.Context) (bool, error) { return run(ctx, o) })
}

// options are the command line.
type options struct {
	selection
	runs int
	size int64 // bytes; 0 = by the links
	out  string
	keep bool
}

func parse() (o options) {
	o.selection = usual()
	flag.Var(list{&o.rates}, "rates", "`Mbit/s` of the links; 0 = not shaped")
	flag.Var(list{&o.targets}, "targets", "`numbers` of targets")
	flag.Var(list{&o.loss}, "loss", "losses at each target in `per cent`, packet by packet")
	flag.Var(list{&o.bursts}, "bursts", "losses at each target in `per cent`, many packets in a row")
	flag.Var(names{&o.tools}, "tools", "what to measure, of "+toolNames())
	flag.IntVar(&o.busy, "busy", 0, "`number` of processes that compute beside the transfers, as guests do on a host that is emptied")
	onlySlow := flag.Bool("slow", false, "only what a slow target costs the others")
	onlyPatterns := flag.Bool("patterns", false, "only what it costs in which pattern packets get lost")
	full := flag.Bool("full", false, "everything: all rates, numbers of targets, losses and tools")
	flag.IntVar(&o.runs, "runs", 5, "runs of each kind; the table shows their medians")
	size := flag.Int64("size", 0, "MiB to transfer; 0 = 64, and 256 of everything and where links are not shaped")
	flag.StringVar(&o.out, "out", "", "where to write the table (default: multicast.md or, of patterns, multicast-patterns.md in bench/results); the plot and the single runs go beside it")
	flag.BoolVar(&o.keep, "keep", false, "add to the runs that are there")
	flag.Parse()
	o.narrow(given())
	if *onlySlow {
		o.selection = slow()
	}
	name := "multicast.md"
	if *onlyPatterns {
		o.selection, name = patterns(), "multicast-patterns.md"
	}
	o.out = cmp.Or(o.out, filepath.Join("bench", "results", name))
	o.size = *size << 20
	if *full {
		o.selection = everything()
	}
	if o.size == 0 && *full {
		o.size = large
	}
	return o
}

const (
	small = 64 << 20
	large = 256 << 20 // on links that are not shaped: with less, half of a sender's CPU goes into its start
)

// sizeOf is how many bytes are transferred to each target.
func (o *options) sizeOf(c cell) int64 {
	switch {
	case o.size > 0:
		return o.size
	case c.Mbit == 0:
		return large
	default:
		return small
	}
}

// given are the names of the flags on the command line.
func given() map[string]bool {
	set := map[string]bool{}
	flag.Visit(func(f *flag.Flag) { set[f.Name] = true })
	return set
}

// run measures what is selected and reports whether all promises are kept.
func run(ctx context.Context, o options) (kept bool, err error) {
	all, err := o.measure(ctx)
	if err != nil {
		return false, err
	}
	r := summarize(all)
	t := r.promises()
	text := t.Markdown() + "\n" + r.table()
	fmt.Print("\n", text)
	base := o.base()
	if plot := r.plot(); plot != "" {
		text += fmt.Sprintf("\n![goodput](%s.svg)\n", filepath.Base(base))
		err = promise.Write(base+".svg", plot)
	}
	return t.Kept(), errors.Join(err, promise.Write(o.out, text))
}

// base is the path of the results without extension.
func (o *options) base() string { return o.out[:len(o.out)-len(filepath.Ext(o.out))] }

// measure measures, after what is kept of earlier measurements.
func (o *options) measure(ctx context.Context) (all []sample, err error) {
	log := o.base() + ".jsonl"
	if o.keep {
		if all, err = load(log); err != nil {
			return nil, err
		}
	} else if err := os.Remove(log); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	s, err := newScene(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	for i := range o.runs {
		for _, j := range o.jobs() {
			m, err := s.measure(ctx, j)
			if err != nil {
				return all, err
			}
			fmt.Printf("%d/%d %s\n", i+1, o.runs, m)
			all = append(all, m)
			if err := save(log, m); err != nil {
				return all, err
			}
		}
	}
	return all, nil
}
