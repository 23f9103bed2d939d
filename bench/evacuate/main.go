// Command evacuate measures evacuations of one host to many, by scatter and by stock QEMU, side by side, with the same guests over
// the same links, and holds the results against what scatter promises.
//
//	go run ./bench/evacuate [-real] [-runs 3] [-verify-runs 20] [-out bench/results/evacuate.md]
//
// With -real the guests are whole Debians with a busy Redis (bench/setup.sh real makes their disk), and the table is evacuate-real.md.
//
// It exits with 1 if a promise is broken. It needs root and bin/scatter, and takes about 25 minutes on two cores.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/promise"
)

// options are the command line.
type options struct {
	runs, verifyRuns int
	guests           int
	rate             int64 // bit/s
	real             bool
	binary, out      string
}

func main() {
	o := options{rate: 500e6}
	flag.IntVar(&o.runs, "runs", 3, "runs of each kind; the table shows their medians")
	flag.IntVar(&o.verifyRuns, "verify-runs", 20, "consecutive evacuations with --verify")
	flag.IntVar(&o.guests, "guests", 6, "number of guests of 512 MiB")
	flag.StringVar(&o.binary, "scatter", "bin/scatter", "the program")
	flag.BoolVar(&o.real, "real", false, "with guests that are whole Debians with a busy Redis")
	flag.StringVar(&o.out, "out", "", "where to write the table (default: evacuate.md or evacuate-real.md in bench/results)")
	flag.Parse()
	if o.out == "" {
		o.out = filepath.Join("bench", "results", map[bool]string{false: "evacuate.md", true: "evacuate-real.md"}[o.real])
	}
	promise.Main("evacuate", func(ctx context.Context) (bool, error) { return run(ctx, o) })
}

// few and many are the numbers of targets that are compared.
const (
	few  = 3
	many = 6
)

// run measures everything and reports whether all promises are kept.
func run(ctx context.Context, o options) (kept bool, err error) {
	var speeds []speed
	if !o.real {
		if speeds, err = measureSpeeds(ctx); err != nil { // while no guest takes processor time
			return false, err
		}
	}
	restore, err := lab.ShareEqually()
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	l, err := lab.New(ctx, lab.Config{Targets: many, Rate: o.rate})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	fmt.Printf("booting %d guests\n", o.guests)
	guests, err := l.Boot(ctx, o.configs()...)
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
	makeTable := m.table
	if o.real {
		makeTable = m.realTable
	}
	table := makeTable()
	fmt.Print("\n", table.Markdown())
	return table.Kept(), promise.Write(o.out, table.Markdown())
}

// configs describes the guests.
func (o options) configs() (all []lab.GuestConfig) {
	for i := range o.guests {
		c := lab.GuestConfig{Name: fmt.Sprintf("vm%d", i+1), Memory: guestMiB, Workload: lab.HostWorkload(i + 1)}
		if o.real {
			c.System, c.Workload = image.Debian, lab.DebianWorkload(i+1)
		}
		all = append(all, c)
	}
	return all
}

// guestMiB is the memory of each guest.
const guestMiB = 512
