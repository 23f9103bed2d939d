// Command evacuate measures evacuations of one host to many, by scatter and by stock QEMU, side by side, with the same guests over
// the same links, and holds the results against what scatter promises.
//
//	go run ./bench/evacuate [-runs 3] [-verify-runs 20] [-out bench/results/evacuate.md]
//
// It exits with 1 if a promise is broken. It needs root and bin/scatter, and takes about 25 minutes on two cores.
package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/promise"
)

// options are the command line.
type options struct {
	runs, verifyRuns int
	guests           int
	rate             int64 // bit/s
	binary, out      string
}

func main() {
	o := options{rate: 500e6}
	flag.IntVar(&o.runs, "runs", 3, "runs of each kind; the table shows their medians")
	flag.IntVar(&o.verifyRuns, "verify-runs", 20, "consecutive evacuations with --verify")
	flag.IntVar(&o.guests, "guests", 6, "number of guests of 512 MiB")
	flag.StringVar(&o.binary, "scatter", "bin/scatter", "the program")
	flag.StringVar(&o.out, "out", filepath.Join("bench", "results", "evacuate.md"), "where to write the table")
	flag.Parse()
	promise.Main("evacuate", func(ctx context.Context) (bool, error) { return run(ctx, o) })
}

// few and many are the numbers of targets that are compared.
const (
	few  = 3
	many = 6
)

// run measures everything and reports whether all promises are kept.
func run(ctx context.Context, o options) (kept bool, err error) {
	speeds, err := measureSpeeds(ctx) // while no guest takes processor time
	if err != nil {
		return false, err
	}
	l, err := lab.New(ctx, lab.Config{Targets: many, Rate: o.rate})
	if err != nil {
		return false, err
	}
	defer func() {
		if e := l.Close(); err == nil {
			err = e
		}
	}()
	fmt.Printf("booting %d guests\n", o.guests)
	guests, err := l.Boot(ctx, configs(o.guests)...)
	if err != nil {
		return false, err
	}
	d, err := deploy.New(ctx, l, o.binary)
	if err != nil {
		return false, err
	}
	m := &measurement{options: o, lab: l, guests: guests, deployment: d, speeds: speeds}
	if err := m.all(ctx); err != nil {
		return false, err
	}
	table := m.table()
	fmt.Print("\n", table.Markdown())
	return table.Kept(), promise.Write(o.out, table.Markdown())
}

// configs describes the guests.
func configs(n int) (all []lab.GuestConfig) {
	for i := range n {
		all = append(all, lab.GuestConfig{Name: fmt.Sprintf("vm%d", i+1), Memory: guestMiB, Workload: lab.HostWorkload(i + 1)})
	}
	return all
}

// guestMiB is the memory of each guest.
const guestMiB = 512
