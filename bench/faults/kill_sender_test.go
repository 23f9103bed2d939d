//go:build lab

package faults

import (
	"testing"

	"github.com/scatter-vm/scatter/bench/lab"
	"github.com/scatter-vm/scatter/scatter"
)

// killed starts receivers and a sender, brings it to a stage and kills it there.
func killed(s *scene, stage func(*sender), flags ...string) {
	s.t.Helper()
	s.receiveAll()
	x := s.send(flags...)
	stage(x)
	x.kill()
}

// Before anything moves there is nothing to recover, and targets have nothing of the VMs.
func TestFaultKillSendInScan(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) { x.reachesStage("scan") })
	s.recover(s.Source).nothing()
	s.everybody(s.Source)
}

// The targets were not asked yet.
func TestFaultKillSendInPlan(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) {
		l, err := x.next(eventTime)
		s.must(err)
		if l.Action != "prepare" {
			t.Errorf("the first decision is %+v", l)
		}
	})
	s.recover(s.Source).nothing()
	s.everybody(s.Source)
}

// stayed recovers an evacuation of which nothing has arrived.
func stayed(s *scene) {
	s.t.Helper()
	r := s.recover(s.Source).exits(0)
	for _, g := range s.guests {
		r.finds(g, scatter.OnSource, "on the source")
	}
	s.everybody(s.Source)
	s.recover(s.Source).nothing() // it can be asked again
}

func TestFaultKillSendInPrepare(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) {
		for range s.guests {
			x.begins("prepare")
		}
		s.says(s.receivers[0], "qemu started")
		s.says(s.receivers[1], "qemu started")
	})
	stayed(s)
}

func TestFaultKillSendInBulk(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) { x.sends(4 << 20) }, "--rate", "60mbit")
	stayed(s)
}

func TestFaultKillSendInConverge(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) { x.begins("converge") })
	stayed(s)
}

// The source VM is paused, waiting for the word of a sender that is no more: it runs on by itself.
func TestFaultKillSendInSwitchOver(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) { x.meets("stopped") })
	stayed(s)
}

func TestFaultKillSendInVerify(t *testing.T) {
	s := newScene(t)
	killed(s, func(x *sender) { x.begins("verify") })
	stayed(s)
}

// The commit record is on disk, but the source VM was not told: it was not given away.
func TestFaultKillSendBeforeRelease(t *testing.T) {
	s := newScene(t)
	var last *lab.Guest
	killed(s, func(x *sender) {
		last = x.beginsLast("logcommit")
		x.knows(last, "logged")
	})
	s.recover(s.Source).exits(0).finds(s.other(last), scatter.OnTarget, "had arrived").finds(last, scatter.OnSource, "runs on the source")
	s.standBut(last)
	s.recover(s.Source).nothing()
}

// arrived recovers an evacuation that was killed with its last VM between both hosts, and complete on the target.
func arrived(s *scene, last *lab.Guest, action string) {
	s.t.Helper()
	s.recover(s.Source).exits(0).finds(s.other(last), scatter.OnTarget, "had arrived").finds(last, scatter.OnTarget, action)
	s.spread(s.Targets...)
	s.recover(s.Source).nothing()
}

// The source VM was given away, the target holds it complete and was not told to run it: recover tells it.
func TestFaultKillSendAfterCommit(t *testing.T) {
	s := newScene(t)
	var last *lab.Guest
	killed(s, func(x *sender) {
		last = x.beginsLast("release")
		x.knows(last, "completed")
	})
	arrived(s, last, "was complete on the target")
}

// The run record is on disk, Run was not sent.
func TestFaultKillSendBeforeRun(t *testing.T) {
	s := newScene(t)
	var last *lab.Guest
	killed(s, func(x *sender) {
		last = x.beginsLast("logrun")
		x.knows(last, "logged")
	})
	arrived(s, last, "was complete on the target")
}

// The target runs it, the source has not ended its QEMU.
func TestFaultKillSendAfterRun(t *testing.T) {
	s := newScene(t)
	var last *lab.Guest
	killed(s, func(x *sender) {
		last = x.beginsLast("run")
		x.knows(last, "running")
		s.must(last.Serial.AwaitBeat(t.Context(), s.target(last)))
	})
	arrived(s, last, "runs on the target, the source QEMU was ended")
}

// Sender and receiver are both killed while the target holds a VM that the source has given away. The target alone
// cannot decide and says so; once a receiver is back, the source can.
func TestFaultKillBothAfterCommit(t *testing.T) {
	s := newScene(t)
	s.receiveAll()
	x := s.send()
	last := x.beginsLast("release")
	x.knows(last, "completed")
	s.kill(s.receiverOf(last))
	x.kill()

	host := s.target(last)
	s.recover(host).exits(5).finds(last, scatter.InDoubt, "complete and paused here")
	s.recover(s.Source, "--dry-run").finds(last, scatter.OnSource, "was never told to run it")
	s.says(s.receive(host), "taken over")
	arrived(s, last, "was complete on the target")
}
