//go:build lab

package main

import (
	"context"
	"os"
	"os/exec"
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
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

// TestEachToolDelivers sends a little by each tool that is there, with loss.
func TestEachToolDelivers(t *testing.T) {
	o := &options{size: 8 << 20, selection: selection{rates: []float64{200}, targets: []float64{2}, loss: []float64{1}, bursts: []float64{1}}}
	for _, tool := range tools {
		program := tool.send(transfer{source: new(lab.Host)})[0]
		if _, err := exec.LookPath(program); tool.name != "scatter" && tool.name != "tcp" && err != nil {
			t.Logf("%s is not there: bench/setup.sh peers", tool.name)
			continue
		}
		o.tools = append(o.tools, tool.name)
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
