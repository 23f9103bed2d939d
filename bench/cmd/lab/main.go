// Command lab boots guests on a source host and keeps it and its targets up until it is interrupted, for trying things by hand.
//
//	go run ./bench/cmd/lab -targets 3 -guests 4 -rate-mbit 500
//	go run ./bench/cmd/lab -sweep     remove what killed labs have left
//
// It prints how to run a command on each host. Faults are typed on its standard input: "loss target1 0.05", "loss-udp target1
// 0.05", "cut target2", "restore target2", "blackhole target1 on", "silence target1 off", "traffic", "guests", "beats", "quit".
package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/image"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/lab/serial"
)

func main() {
	targets := flag.Int("targets", 2, "number of target hosts")
	guests := flag.Int("guests", 2, "number of guests")
	rate := flag.Int("rate-mbit", 500, "Mbit/s of each port in each direction; 0 = not shaped")
	memory := flag.Int("memory", 160, "MiB of each guest; 512 and more get the workload of the benchmark")
	debian := flag.Bool("debian", false, "boot a whole Debian with Redis, which bench/setup.sh real makes")
	dirty := flag.Int("dirty", -1, "pages that each guest rewrites per second; -1 = as the workload has it")
	keep := flag.Bool("keep", false, "keep the directory with the serial logs")
	sweep := flag.Bool("sweep", false, "only remove what killed labs have left")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	err := lan.Sweep(ctx)
	if err == nil && !*sweep {
		err = up(ctx, lab.Config{Targets: *targets, Rate: int64(*rate) * 1e6, Keep: *keep}, *guests, *memory, *dirty, *debian)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

func up(ctx context.Context, config lab.Config, guests, memory, dirty int, debian bool) (err error) {
	l, err := lab.New(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		if e := l.Close(); err == nil {
			err = e
		}
	}()
	var configs []lab.GuestConfig
	for i := range guests {
		w := lab.SmallWorkload(i + 1)
		if memory >= 512 {
			w = lab.HostWorkload(i + 1)
		}
		c := lab.GuestConfig{Name: fmt.Sprintf("vm%d", i+1), Memory: memory}
		if debian {
			c.System, w = image.Debian, lab.DebianWorkload(i+1)
		}
		if dirty >= 0 {
			w.Dirty = dirty
		}
		c.Workload = w
		configs = append(configs, c)
	}
	start := time.Now()
	if _, err := l.Boot(ctx, configs...); err != nil {
		return err
	}
	fmt.Printf("%d guests ready after %v\n", guests, time.Since(start).Round(time.Millisecond))
	describe(l)
	return console(ctx, l)
}

// describe prints where everything is.
func describe(l *lab.Lab) {
	fmt.Println("directory", l.Dir, "- paths on the guests' command lines:", strings.Join(l.AllowPaths(), " "))
	for _, h := range l.Switch.Hosts() {
		fmt.Printf("%-8s %-12v %s  ip netns exec %s ...  files %s\n", h.Name, h.Addr, h.Interface, h.Namespace, h.Dir)
	}
	for _, g := range l.Guests() {
		fmt.Printf("%-8s pid %-7d qmp %s  serial %s\n", g.Name, g.PID(), g.QMP, serial.Path(l.Source, g.Name))
	}
	fmt.Println("type a fault, traffic, guests, beats or quit; Ctrl-C ends and removes everything")
}

// console obeys the lines on standard input until it is told to quit. At its end the lab stays until it is interrupted.
func console(ctx context.Context, l *lab.Lab) error {
	lines := make(chan string)
	go func() { // ends with the process: a read of standard input cannot be interrupted
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			lines <- in.Text()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			words := strings.Fields(line)
			if len(words) == 0 {
				continue
			}
			if words[0] == "quit" {
				return nil
			}
			if err := obey(ctx, l, words); err != nil {
				fmt.Println(err)
			}
		}
	}
}

func obey(ctx context.Context, l *lab.Lab, words []string) error {
	switch words[0] {
	case "traffic":
		for _, h := range l.Switch.Hosts() {
			t, err := h.Traffic(ctx)
			if err != nil {
				return err
			}
			fmt.Printf("%-8s sent %d bytes, received %d bytes, lost in queues %d and %d packets\n",
				h.Name, t.SentBytes, t.ReceivedBytes, t.SentDropped, t.ReceivedDropped)
		}
		return nil
	case "guests":
		return showGuests(ctx, l)
	case "beats":
		for _, g := range l.Guests() {
			fmt.Println(g.Name, g.Serial.Health())
		}
		return nil
	}
	if len(words) < 2 {
		return fmt.Errorf("%s: which host?", words[0])
	}
	for _, h := range l.Switch.Hosts() {
		if h.Name == words[1] {
			return fault(ctx, h, words[0], append(words[2:], "")[0])
		}
	}
	return fmt.Errorf("no host %s", words[1])
}

func showGuests(ctx context.Context, l *lab.Lab) error {
	for _, g := range l.Guests() {
		sightings, err := l.Sightings(ctx, g)
		if err != nil {
			return err
		}
		for _, s := range sightings {
			fmt.Printf("%-8s %-8s pid %-7d %s\n", g.Name, s.Host.Name, s.PID, s.Status)
		}
	}
	return nil
}

func fault(ctx context.Context, h *lan.Host, what, value string) error {
	switch what {
	case "cut":
		return h.Cut(ctx)
	case "restore":
		return h.Restore(ctx)
	case "blackhole":
		return h.BlackholeMulticast(ctx, value != "off")
	case "silence":
		return h.Silence(ctx, value != "off")
	case "loss", "loss-udp":
		fraction, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return err
		}
		return h.SetLoss(ctx, lan.Loss{Fraction: fraction, UDPOnly: what == "loss-udp"})
	}
	return fmt.Errorf("unknown command %s", what)
}
