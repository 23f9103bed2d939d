//go:build lab

package main

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// TestMain lets the test program play the roles of the real one.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && roles[os.Args[1]] != nil {
		if err := roles[os.Args[1]](context.Background(), os.Args[2:]); err != nil {
			println(err.Error())
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestEachToolDelivers sends a little by each tool that is there. Only scatter and TCP are tried with loss: udpcast gives
// up when the packets of its greeting are lost, which proves nothing about the bench.
func TestEachToolDelivers(t *testing.T) {
	o := &options{size: 8 << 20}
	lossy := cell{Mbit: 200, Targets: 2, Loss: 1}
	bursty := cell{Mbit: 200, Targets: 2, Loss: 1, Burst: burstLength}
	for _, tool := range []string{"scatter", "tcp"} {
		for _, c := range []cell{lossy, bursty, {Mbit: 200, Targets: 2, Loss: 1, Merged: true}, {Mbit: 200, Targets: 2, Loss: 1, Bad: 100}} {
			o.more = append(o.more, job{c, tool})
		}
	}
	o.more = append(o.more, job{cell{Mbit: 200, Targets: 3, Slow: true}, "scatter"})
	o.more = append(o.more, job{cell{Mbit: 200, Targets: 2, Busy: 2}, "scatter"})
	for _, tool := range tools {
		program := tool.send(transfer{source: new(lan.Host)})[0]
		if _, err := exec.LookPath(program); tool.name != "scatter" && tool.name != "tcp" && err != nil {
			t.Logf("%s is not there: bench/setup.sh peers", tool.name)
			continue
		}
		o.more = append(o.more, job{cell{Mbit: 200, Targets: 2}, tool.name})
	}
	s, err := newScene(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.close(); err != nil {
			t.Error(err)
		}
	}()
	for _, j := range o.jobs() {
		m, err := s.measure(t.Context(), j)
		if err != nil {
			t.Fatal(err)
		}
		t.Log(m)
		if m.Failed != "" || m.Bytes < m.Size || m.goodput() <= 0 || m.Memory == 0 {
			t.Errorf("%+v", m)
		}
	}
}
