package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/scatter-vm/scatter/bench/promise"
)

// How far a prediction may be off.
const (
	bytesOff = 0.10
	timeOff  = 0.20
)

// off is how far a prediction is from what was measured, as a part of that.
func off(predicted, measured float64) float64 { return predicted/measured - 1 }

func (r row) bytesOff() float64 { return off(float64(r.predictedBytes), float64(r.bytes)) }
func (r row) timeOff() float64  { return off(r.predictedTime.Seconds(), r.time.Seconds()) }

func (r row) kept() bool {
	return math.Abs(r.bytesOff()) <= bytesOff && math.Abs(r.timeOff()) <= timeOff
}

func allKept(rows []row) bool {
	return len(rows) > 0 && !slices.ContainsFunc(rows, func(r row) bool { return !r.kept() })
}

func (r row) summary() string {
	return fmt.Sprintf("%-28s %7.1f MB, predicted %7.1f (%+.1f %%); %5.1f s, predicted %5.1f (%+.1f %%)", r.name,
		megabytes(r.bytes), megabytes(r.predictedBytes), 100*r.bytesOff(), r.time.Seconds(), r.predictedTime.Seconds(), 100*r.timeOff())
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// table is the result as text.
func table(rows []row) string {
	cells := [][]string{{"evacuation", "guests", "targets", "Mbit/s", "MB predicted", "measured", "off", "s predicted", "measured", "off",
		"longest pause predicted", "measured", "kept"}}
	for _, r := range rows {
		cells = append(cells, []string{r.name, fmt.Sprint(len(r.guests)), fmt.Sprint(r.targets), fmt.Sprint(r.rate),
			fmt.Sprintf("%.1f", megabytes(r.predictedBytes)), fmt.Sprintf("%.1f", megabytes(r.bytes)), percent(r.bytesOff()),
			seconds(r.predictedTime), seconds(r.time), percent(r.timeOff()), milliseconds(r.predictedPause), milliseconds(r.pause),
			map[bool]string{true: "yes", false: "NO"}[r.kept()]})
	}
	return fmt.Sprintf(`# What an evacuation takes, predicted and measured

- predictions are those of the plan, made before anything moves; bytes and time were measured from outside, on the source's port and
  around `+"`scatter send`"+`; pauses are those of the report, of the guest with the longest
- promised: bytes within %.0f %%, time within %.0f %%
- guests of 288 MiB: a family of three that share most, one that is mostly its own, one that rewrites 1500 pages per second
- %s

%s`, 100*bytesOff, 100*timeOff, promise.Guests(), promise.Grid(cells))
}

func percent(part float64) string         { return fmt.Sprintf("%+.1f %%", 100*part) }
func seconds(d time.Duration) string      { return fmt.Sprintf("%.1f", d.Seconds()) }
func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
