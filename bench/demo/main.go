// Command demo shows an evacuation: four guests leave one host for three others, first with scatter, then with stock QEMU, over the same
// links. It needs root and bin/scatter; `make demo` builds it and installs what else is missing.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/promise"
	"github.com/scatter-vm/scatter/bench/stock"
)

// What is shown.
const (
	guests   = 4
	targets  = 3
	guestMiB = 512
	rateMbit = 500
)

func main() {
	binary := flag.String("scatter", "bin/scatter", "the program")
	flag.Parse()
	promise.Main("demo", func(ctx context.Context) (bool, error) { return true, demo(ctx, *binary) })
}

func demo(ctx context.Context, binary string) (err error) {
	l, err := lab.New(ctx, lab.Config{Targets: targets, Rate: rateMbit * 1e6})
	if err != nil {
		return err
	}
	defer func() {
		if e := l.Close(); err == nil {
			err = e
		}
	}()
	all, err := boot(ctx, l)
	if err != nil {
		return err
	}
	d, err := deploy.New(ctx, l, binary)
	if err != nil {
		return err
	}
	r, err := evacuate(ctx, d, all)
	if err != nil {
		return err
	}
	say("The same guests, back on the source, now move with stock QEMU: one TCP migration each, all at once.")
	baseline, err := stock.Evacuate(ctx, l, all, stock.RoundRobin(l), stock.Default)
	if err != nil {
		return err
	}
	if _, err := d.CheckGuests(ctx, all); err != nil {
		return err
	}
	return compare(r, baseline)
}

// boot starts the guests and says what they are.
func boot(ctx context.Context, l *lab.Lab) ([]*lab.Guest, error) {
	say("Booting %d guests of %d MiB on one host: real QEMUs with Debian's kernel. About half of what each holds is common to all, and\n"+
		"each rewrites 200 pages per second. Links have %d Mbit/s.", guests, guestMiB, rateMbit)
	var configs []lab.GuestConfig
	for i := range guests {
		configs = append(configs, lab.GuestConfig{Name: fmt.Sprintf("vm%d", i+1), Memory: guestMiB, Workload: lab.HostWorkload(i + 1)})
	}
	start := time.Now()
	all, err := l.Boot(ctx, configs...)
	if err != nil {
		return nil, err
	}
	contents, err := lab.CountContents(ctx, all...)
	if err != nil {
		return nil, err
	}
	fmt.Printf("Ready after %.0f s. They hold %d MB that are not zero, of which %d MB are distinct.\n",
		time.Since(start).Seconds(), contents.NonZero/1e6, contents.Distinct/1e6)
	return all, nil
}

// outcome is what scatter's run took.
type outcome struct {
	*deploy.Result
	pause time.Duration
}

// receive starts recv on the targets. The first has room for two guests, the others for one, so all are needed.
func receive(ctx context.Context, d *deploy.Deployment) (all []*deploy.Receiver, err error) {
	room := guestMiB * 5 / 2
	for _, h := range d.Lab.Targets {
		r, err := d.Receive(ctx, h, "--memory", fmt.Sprintf("%dMiB", room))
		if err != nil {
			return nil, err
		}
		all, room = append(all, r), guestMiB*3/2
	}
	return all, nil
}

// evacuate shows scatter at work, checks the guests and brings them home.
func evacuate(ctx context.Context, d *deploy.Deployment, all []*lab.Guest) (*outcome, error) {
	say("$ scatter send --vm vm1.qmp ... --to target1=%v:%d ... --interface eth0 --rate %dmbit", d.Lab.Targets[0].Addr, deploy.Port, rateMbit)
	receivers, err := receive(ctx, d)
	if err != nil {
		return nil, err
	}
	s, err := d.StartSend(ctx, deploy.Job{Show: os.Stdout, Args: []string{"--rate", fmt.Sprintf("%dmbit", rateMbit)}})
	if err != nil {
		return nil, err
	}
	r, err := s.Result(ctx)
	if err != nil {
		return nil, err
	}
	if r.Exit != 0 {
		return nil, fmt.Errorf("scatter send ended with %d", r.Exit)
	}
	where, err := d.CheckGuests(ctx, all)
	if err != nil {
		return nil, err
	}
	o := &outcome{r, r.WorstPause(all)}
	say("Each guest runs in exactly one place, and all that it has verified of its memory is right:")
	for i, g := range all {
		fmt.Printf("  %s on %s, %d pages verified, none wrong\n", g.Name, where[i].Name, g.Serial.Health().Verified)
	}
	return o, d.Reset(ctx, receivers)
}

// compare prints both evacuations side by side.
func compare(s *outcome, q *stock.Result) error {
	say("Measured from outside: bytes on the source's port, pauses in the guests' heartbeats.")
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\tscatter\tstock QEMU\tratio\t")
	fmt.Fprintf(w, "time\t%.1f s\t%.1f s\t%.2f\t\n", s.Time.Seconds(), q.Time.Seconds(), s.Time.Seconds()/q.Time.Seconds())
	fmt.Fprintf(w, "bytes leaving the source\t%d MB\t%d MB\t%.2f\t\n", s.SourceBytes/1e6, q.SourceBytes/1e6, float64(s.SourceBytes)/float64(q.SourceBytes))
	fmt.Fprintf(w, "worst pause of a guest\t%d ms\t%d ms\t\t\n", s.pause.Milliseconds(), q.WorstPause().Milliseconds())
	return w.Flush()
}

func say(format string, args ...any) { fmt.Printf("\n"+format+"\n", args...) }
