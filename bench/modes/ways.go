package main

import (
	"context"
	"fmt"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/bench/lab/lan"
	"github.com/scatter-vm/scatter/bench/stock"
)

// mover moves all guests of a part.
type mover = func(ctx context.Context, m *measurement) (r round, began time.Time, err error)

// stockWay has QEMU move one guest after the other.
func stockWay(how stock.Setting) mover {
	return func(ctx context.Context, m *measurement) (r round, began time.Time, err error) {
		began = time.Now()
		for i, g := range m.guests {
			place := func(int) *lan.Host { return m.lab.Targets[i%m.part.targets] }
			result, err := stock.Evacuate(ctx, m.lab, []*lab.Guest{g}, place, how)
			if err != nil {
				return r, began, err
			}
			r.time += result.Time
			r.bytes += result.SourceBytes
		}
		return r, began, nil
	}
}

// scatterWay has scatter move them, with further arguments; prefix goes before the program.
func scatterWay(prefix []string, args ...string) mover {
	return func(ctx context.Context, m *measurement) (r round, began time.Time, err error) {
		result, err := m.send(ctx, prefix, args...)
		if err != nil {
			return r, began, err
		}
		return roundOf(result), result.Started, nil
	}
}

// send has scatter move the guests of the part under way.
func (m *measurement) send(ctx context.Context, prefix []string, args ...string) (result *deploy.Result, err error) {
	hosts := m.lab.Targets[:m.part.targets]
	if m.receivers, err = m.deployment.ReceiveAll(ctx, hosts); err != nil {
		return nil, err
	}
	args = append([]string{"--rate", fmt.Sprintf("%.0fmbit", m.part.rate/1e6)}, args...)
	result, err = m.deployment.Send(ctx, deploy.Job{Targets: hosts, Args: args, Prefix: prefix})
	if err == nil && result.Exit != 0 {
		err = fmt.Errorf("send ended with %d: %s", result.Exit, result.Output)
	}
	return result, err
}

// roundOf is what an evacuation tells.
func roundOf(result *deploy.Result) round {
	r := round{time: result.Time, bytes: result.SourceBytes}
	for _, vm := range result.Report.VMs {
		r.down = max(r.down, milliseconds(vm.DowntimeMS))
		r.taken += seconds(vm.Throttled)
		if p := vm.PostCopy; p != nil {
			r.faults += p.Faults
			r.fault, r.most, r.exposed = max(r.fault, milliseconds(p.FaultMS)), max(r.most, milliseconds(p.MostMS)), max(r.exposed, seconds(p.ExposedS))
		}
	}
	return r
}

func seconds(s float64) time.Duration       { return time.Duration(s * float64(time.Second)) }
func milliseconds(ms float64) time.Duration { return time.Duration(ms * float64(time.Millisecond)) }
