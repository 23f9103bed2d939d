// Command prediction evacuates guests in ten ways and holds what scatter predicted against what happened.
//
//	go run ./bench/prediction [-out bench/results/prediction.md]
//
// It exits with 1 if a prediction was off by more than is promised: a tenth of the bytes that leave the source, a fifth of the time. It
// needs root and bin/scatter, and takes about three minutes on two cores.
package main

import (
	"context"
	"flag"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/promise"
)

func main() {
	binary := flag.String("scatter", "bin/scatter", "the program")
	out := flag.String("out", filepath.Join("bench", "results", "prediction.md"), "where to write the table")
	only := flag.String("run", "", "only evacuations whose name matches this regular expression; no table is written")
	flag.Parse()
	promise.Main("prediction", func(ctx context.Context) (bool, error) { return run(ctx, *binary, *out, *only) })
}

// run does all evacuations, writes the table, and reports whether all promises are kept.
func run(ctx context.Context, binary, out, only string) (kept bool, err error) {
	chosen, err := regexp.Compile(only)
	if err != nil {
		return false, err
	}
	l, err := lab.New(ctx, lab.Config{Targets: mostTargets})
	if err != nil {
		return false, err
	}
	defer func() {
		if e := l.Close(); err == nil {
			err = e
		}
	}()
	guests, err := l.Boot(ctx, guestConfigs()...)
	if err != nil {
		return false, err
	}
	d, err := deploy.New(ctx, l, binary)
	if err != nil {
		return false, err
	}
	var rows []row
	for _, s := range shapes {
		if !chosen.MatchString(s.name) {
			continue
		}
		r, err := s.measure(ctx, d, guests)
		if err != nil {
			return false, fmt.Errorf("%s: %w", s.name, err)
		}
		fmt.Println(r.summary())
		rows = append(rows, r)
	}
	if only != "" {
		return allKept(rows), nil
	}
	t := table(rows)
	fmt.Print("\n", t)
	return allKept(rows), promise.Write(out, t)
}
