// Command disks empties a host whose guests have disks of their own there, by scatter and by stock QEMU as libvirt drives it, side by side.
//
//	go run ./bench/disks [-runs 3] [-only REGEXP] [-out bench/results/disks.md]
//
// It exits with 1 if a promise is broken. It needs root and bin/scatter, and takes a quarter of an hour on two cores.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/promise"
)

func main() {
	out := flag.String("out", "", "where to write the table (default "+results+")")
	only := flag.String("only", "", "regular expression: the ways that are measured, without a table")
	runs := flag.Int("runs", 3, "runs of each way; the table shows their medians")
	binary := flag.String("scatter", "bin/scatter", "the program")
	flag.Parse()
	promise.Main("disks", func(ctx context.Context) (bool, error) {
		some, err := regexp.Compile(*only)
		if err != nil {
			return false, err
		}
		all, err := measureAll(ctx, *runs, *binary, some)
		if err != nil || *only != "" && *out == "" {
			return true, err
		}
		if *out == "" {
			*out = results
		}
		t := table(all)
		fmt.Print("\n", t.Markdown())
		return t.Kept(), promise.Write(*out, t.Markdown())
	})
}

// results is where the table is kept.
var results = filepath.Join("bench", "results", "disks.md")

// What the lab is: guests whose disks are clones of one image, with as much of their own.
const (
	rate    = 300e6 // bit/s of each port
	targets = 2
	guests  = 4

	memory    = 512  // MiB
	mibCommon = 160  // of the image that all disks have
	mibOwn    = 248  // text of each
	mibHot    = 8    // that is rewritten
	mibHole   = 1632 // never written
	reads     = 140  // per second
	writes    = 60
)

// guest is one of them.
func guest(n int) lab.GuestConfig {
	return lab.GuestConfig{Name: fmt.Sprintf("guest%d", n), Memory: memory, System: image.Storing,
		Workload: lab.Workload{ID: n, Disk: true, Common: mibCommon, Text: mibOwn, Zero: mibHole, Hot: mibHot, Dirty: writes, Verify: reads}}
}

// way is how the guests are moved.
type way struct {
	name string
	move func(ctx context.Context, m *measurement) error
}

// ways are stock QEMU's and scatter's.
var ways = []way{
	{"stock", func(ctx context.Context, m *measurement) error { return m.byQEMU(ctx) }},
	{"scatter", func(ctx context.Context, m *measurement) error { return m.byScatter(ctx) }},
	{"scatter, not compressed", func(ctx context.Context, m *measurement) error { return m.byScatter(ctx, "--no-compress") }},
}

// measurement is one run of one way.
type measurement struct {
	lab        *lab.Lab
	guests     []*lab.Guest
	deployment *deploy.Deployment
}

// measureAll measures the ways in turn, each time with new guests.
func measureAll(ctx context.Context, runs int, binary string, some *regexp.Regexp) (all map[string][]round, err error) {
	restore, err := lab.ShareEqually()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, restore()) }()
	all = make(map[string][]round)
	for i := range runs {
		for _, w := range ways {
			if !some.MatchString(w.name) {
				continue
			}
			r, err := measure(ctx, w, binary)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", w.name, err)
			}
			fmt.Printf("%-23s %d/%d %s\n", w.name, i+1, runs, r)
			all[w.name] = append(all[w.name], r)
		}
	}
	return all, nil
}
