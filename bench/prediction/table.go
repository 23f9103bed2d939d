package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/scatter-vm/scatter/bench/promise"
)

// How far a prediction may be off, of VMs that run on their targets before their memory is there more so: what their guests ask for goes past bulk.
const (
	bytesOff = 0.10
	timeOff  = 0.20
	postOff  = 0.25
)

// off is how far a prediction is from what was measured, as a part of that.
func off(predicted, measured float64) float64 { return predicted/measured - 1 }

func (r row) bytesOff() float64   { return off(float64(r.predictedBytes), float64(r.bytes)) }
func (r row) timeOff() float64    { return off(r.predictedTime.Seconds(), r.time.Seconds()) }
func (r row) exposedOff() float64 { return off(r.predictedExposed.Seconds(), r.exposed.Seconds()) }

func (r row) kept() bool {
	if r.exposed > 0 {
		return max(math.Abs(r.bytesOff()), math.Abs(r.timeOff()), math.Abs(r.exposedOff())) <= postOff
	}
	return math.Abs(r.bytesOff()) <= bytesOff && math.Abs(r.timeOff()) <= timeOff
}

func allKept(rows []row) bool {
	return len(rows) > 0 && !slices.ContainsFunc(rows, func(r row) bool { return !r.kept() })
}

func (r row) summary() string {
	return fmt.Sprintf("%-30s %7.1f MB, predicted %7.1f (%+.1f %%); %5.1f s, predicted %5.1f (%+.1f %%); pause %s, predicted %s; exposed %s, predicted %s;%s", r.name,
		megabytes(r.bytes), megabytes(r.predictedBytes), 100*r.bytesOff(), r.time.Seconds(), r.predictedTime.Seconds(), 100*r.timeOff(),
		milliseconds(r.pause), milliseconds(r.predictedPause), seconds(r.exposed), seconds(r.predictedExposed), r.modes)
}

func megabytes(n int64) float64 { return float64(n) / 1e6 }

// table is the result as text.
func table(rows []row) string {
	cells := [][]string{{"evacuation", "guests", "targets", "Mbit/s", "modes", "MB predicted", "measured", "off", "s predicted", "measured", "off",
		"longest pause predicted", "measured", "longest exposure predicted", "measured", "off", "kept"}}
	for _, r := range rows {
		line := []string{r.name, fmt.Sprint(len(r.guests)), fmt.Sprint(r.targets), fmt.Sprint(r.rate), strings.TrimSpace(r.modes),
			fmt.Sprintf("%.1f", megabytes(r.predictedBytes)), fmt.Sprintf("%.1f", megabytes(r.bytes)), percent(r.bytesOff()),
			seconds(r.predictedTime), seconds(r.time), percent(r.timeOff()), milliseconds(r.predictedPause), milliseconds(r.pause), "-", "-", "-",
			map[bool]string{true: "yes", false: "NO"}[r.kept()]}
		if r.exposed > 0 {
			copy(line[13:], []string{seconds(r.predictedExposed), seconds(r.exposed), percent(r.exposedOff())})
		}
		cells = append(cells, line)
	}
	return fmt.Sprintf(`# What an evacuation takes, predicted and measured

- predictions are those of the plan, made before anything moves; bytes and time were measured from outside, on the source's port and
  around `+"`scatter send`"+`; pauses and exposures (to both hosts) are those of the report, of the guest with the longest
- promised: bytes within %.0f %%, time within %.0f %%; where guests run on their targets before their memory is there, both and the exposure within %.0f %%
- guests of 288 MiB: a family of three that share most, one that is mostly its own, one that rewrites 1500 pages per second, one that rewrites 32 MiB faster
  than the link carries
- %s

%s`, 100*bytesOff, 100*timeOff, 100*postOff, promise.Guests(), promise.Grid(cells))
}

func percent(part float64) string         { return fmt.Sprintf("%+.1f %%", 100*part) }
func seconds(d time.Duration) string      { return fmt.Sprintf("%.1f", d.Seconds()) }
func milliseconds(d time.Duration) string { return fmt.Sprintf("%d ms", d.Milliseconds()) }
