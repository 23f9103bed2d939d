package multicast

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	benchRates   = flag.String("rates", "100,500", "link rates of BenchmarkGoodput in Mbit/s")
	benchTargets = flag.String("targets", "3,8", "numbers of targets of BenchmarkGoodput")
	benchLoss    = flag.String("loss", "0,0.1,1,5", "losses of BenchmarkGoodput in per cent")
	benchSeconds = flag.Int("seconds", 4, "length of each run of BenchmarkGoodput at full rate")
	benchAuto    = flag.Bool("auto", false, "BenchmarkGoodput finds the rate by itself")
)

// BenchmarkGoodput sends for a few seconds through links shaped on both sides of a bridge, with independent loss at each
// target. It reports goodput as a share of the link's rate, and bytes of datagrams on the source's link for each byte of
// payload, with all their headers (a virtual port counts segments that are still joined with one header).
// Run it with -benchtime 1x.
func BenchmarkGoodput(b *testing.B) {
	for _, rate := range numbers(b, *benchRates) {
		for _, n := range numbers(b, *benchTargets) {
			for _, loss := range numbers(b, *benchLoss) {
				b.Run(fmt.Sprintf("%v-Mbit/%v-targets/%v%%", rate, n, loss), func(b *testing.B) {
					goodput(b, rate, int(n), loss/100)
				})
			}
		}
	}
}

func numbers(b *testing.B, list string) (all []float64) {
	for s := range strings.SplitSeq(list, ",") {
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, v)
	}
	return all
}

func goodput(b *testing.B, mbit float64, n int, loss float64) {
	bytesPerSecond := int64(mbit * 1e6 / 8)
	paced := bytesPerSecond
	if *benchAuto {
		paced = 0
	}
	r := newRig(b, newLab(b, n, fmt.Sprintf("%vmbit", mbit)), false, NewPacer(paced, 0))
	for i, recv := range r.receivers {
		coin := rand.New(rand.NewPCG(uint64(i), 1))
		recv.mu.Lock()
		recv.lossy = func() bool { return coin.Float64() < loss }
		recv.mu.Unlock()
	}
	ctx, cancel := context.WithTimeout(b.Context(), 5*time.Minute)
	defer cancel()
	if err := r.sender.Open(ctx, Channel{ID: 1, Group: group(1), Members: names(n)}); err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 256<<10)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(payload)
	r.deliver = func(_ int, _ ChannelID, _ uint64, got []byte) error {
		if !bytes.Equal(got, payload) {
			b.Error("bytes differ")
		}
		return nil
	}
	blocks := int(bytesPerSecond*int64(*benchSeconds)) / len(payload)
	for b.Loop() {
		before, start := onWire(r.sender.Stats()), time.Now()
		for range blocks {
			if _, err := r.sender.Send(ctx, 1, payload); err != nil {
				b.Fatal(err)
			}
		}
		if err := r.sender.Flush(ctx, 1); err != nil {
			b.Fatal(err)
		}
		total := float64(blocks * len(payload))
		b.ReportMetric(total/time.Since(start).Seconds()/float64(bytesPerSecond), "goodput/link")
		b.ReportMetric(float64(onWire(r.sender.Stats())-before)/total, "bytes/payload")
	}
	b.ReportMetric(0, "ns/op")
}

// onWire is the bytes of all datagrams.
func onWire(s Stats) uint64 { return s.Multicast + s.Unicast + s.Repair + s.Probe }
