//go:build lab

package faults

import (
	"testing"

	"github.com/scatter-vm/scatter/scatter"
)

// killed starts receivers and a sender, brings it to a stage, kills it there, and returns the guest of that stage.
func killed(s *scene, stage func(*sender) scatter.Event, flags ...string) scatter.Event {
	s.t.Helper()
	s.receiveAll()
	x := s.send(flags...)
	ev := stage(x)
	x.kill()
	return ev
}

// Before anything moves there is nothing to recover, and targets have nothing of the VMs.
func TestFaultKillSendInScan(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) scatter.Event { return x.untilStage("scan") })
	s.recover(s.Source).nothing()
	s.everybody(s.Source)
}

func TestFaultKillSendInPlan(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) scatter.Event { return x.untilStage("plan") })
	s.recover(s.Source).nothing()
	s.everybody(s.Source)
}

// stayed recovers an evacuation of which nothing has arrived.
func stayed(s *scene) {
	s.t.Helper()
	r := s.recover(s.Source).exits(0)
	for _, g := range s.guests {
		r.finds(g.Name, scatter.OnSource, "on the source")
	}
	s.everybody(s.Source)
	s.recover(s.Source).nothing() // it can be asked again
}

func TestFaultKillSendInPrepare(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) scatter.Event { return x.untilVM("preparing") })
	s.recover(s.Source).exits(0) // of a VM that no target was asked about it need not know
	s.everybody(s.Source)
}

func TestFaultKillSendInBulk(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) scatter.Event { x.untilSent(4 << 20); return scatter.Event{} }, "--rate", "60mbit")
	stayed(s)
}

func TestFaultKillSendInConverge(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) scatter.Event { return x.untilVM("converge") })
	stayed(s)
}

// The source VM is paused, waiting for the word of a sender that is no more: it runs on by itself.
func TestFaultKillSendInSwitchOver(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) scatter.Event { return x.untilVM("switch-over") })
	stayed(s)
}

func TestFaultKillSendInVerify(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) scatter.Event { return x.untilVM("verify") })
	stayed(s)
}

// arrived recovers an evacuation that was killed with its last VM between both hosts, and complete on the target.
func arrived(s *scene, last, action string) {
	s.t.Helper()
	r := s.recover(s.Source).exits(0)
	for _, g := range s.guests {
		if g.Name == last {
			r.finds(g.Name, scatter.OnTarget, action)
		} else {
			r.finds(g.Name, scatter.OnTarget, "had arrived")
		}
	}
	s.spread(s.Targets...)
	s.recover(s.Source).nothing()
}

// The commit record is on disk, but the source VM was not told: it was not given away.
func TestFaultKillSendAfterCommitRecord(t *testing.T) {
	s := newScene(t)
	ev := killed(s, func(x *sender) scatter.Event {
		ev := x.untilLast("commit")
		x.decided(ev.VM, "release", "")
		return ev
	})
	first, last := s.guests[0], s.guests[1]
	if ev.VM == first.Name {
		first, last = last, first
	}
	s.recover(s.Source).exits(0).finds(first.Name, scatter.OnTarget, "had arrived").finds(last.Name, scatter.OnSource, "runs on the source")
	s.stand(last, s.Source)
	s.stand(first, s.target(first))
}

// The source VM was given away, the target holds it complete and was not told to run it: recover tells it.
func TestFaultKillSendAfterCommit(t *testing.T) {
	s := newScene(t)
	ev := killed(s, func(x *sender) scatter.Event {
		ev := x.untilLast("released")
		x.decided(ev.VM, "log", "run")
		return ev
	})
	arrived(s, ev.VM, "was complete on the target")
}

// The run record is on disk, Run was not sent.
func TestFaultKillSendBeforeRun(t *testing.T) {
	s := newScene(t)
	ev := killed(s, func(x *sender) scatter.Event {
		ev := x.untilLast("starting")
		x.decided(ev.VM, "run", "")
		return ev
	})
	arrived(s, ev.VM, "was complete on the target")
}

// The target runs it, the source has not ended its QEMU.
func TestFaultKillSendAfterRun(t *testing.T) {
	s := newScene(t)
	ev := killed(s, func(x *sender) scatter.Event {
		ev := x.untilLast("run")
		g := s.guest(ev.VM)
		s.must(g.AwaitBeat(t.Context(), s.target(g)))
		return ev
	})
	arrived(s, ev.VM, "runs on the target, the source QEMU was ended")
}

// Sender and receiver are both killed while the target holds a VM that the source has given away. The target alone
// cannot decide and says so; once a receiver is back, the source can.
func TestFaultKillBothAfterCommit(t *testing.T) {
	s := newScene(t)
	receivers := s.receiveAll()
	x := s.send()
	ev := x.untilLast("released")
	x.decided(ev.VM, "log", "run")
	last := s.guest(ev.VM)
	host := s.target(last)
	s.kill(s.receiverOf(receivers, last))
	x.kill()

	s.recover(host).exits(5).finds(last.Name, scatter.InDoubt, "complete and paused here")
	s.recover(s.Source, "--dry-run").finds(last.Name, scatter.OnSource, "was never told to run it")
	s.says(s.receive(host), "taken over")
	arrived(s, last.Name, "was complete on the target")
}
