// Package modes decides in which mode each VM moves: it foresees what each mode would take of the VM and of the evacuation, prices that, and says why
// it has chosen. It does no I/O and has no clock.
package modes

import "github.com/scatter-vm/scatter/scatter/model"

// Policy is what may be done with a VM.
type Policy struct {
	Mode     model.Mode // in which it moves; ModeAuto: the one that takes least
	Throttle float64    // most of its processors' time that may be taken from it, a share of 1; 0 = none
	PostCopy bool       // it may take over before its target has all of its memory
	Hurried  bool       // it may, too, when a deadline is near
	Must     bool       // that is what the operator wants, so a VM that cannot do so stays
}

// NoPostCopy is the policy for a VM that cannot take over before its memory, or must not.
func (p Policy) NoPostCopy() Policy {
	p.PostCopy, p.Hurried, p.Must = false, false, false
	if p.Mode.TakesOver() {
		p.Mode = model.ModeAuto
	}
	return p
}

// leastBrake is the share below which to throttle a VM changes nothing.
const leastBrake = 0.1

// Brake is the policy for a VM from which no more than this share can be taken.
func (p Policy) Brake(most float64) Policy {
	if p.Throttle = min(p.Throttle, most); p.Throttle < leastBrake {
		p.Throttle = 0
	}
	return p
}

// Prepares tells whether the VM has to be prepared for taking over before its memory.
func (p Policy) Prepares() bool { return p.PostCopy || p.Hurried }

// Keep is the policy for a VM whose mode was chosen before; "": it was not. What is allowed now stands against it.
func (p Policy) Keep(m model.Mode) Policy {
	if m != "" && p.Mode == model.ModeAuto && p.allows(m) {
		p.Mode = m
	}
	return p
}

// allows tells whether a VM may move in a mode.
func (p Policy) allows(m model.Mode) bool {
	switch {
	case p.Mode != model.ModeAuto:
		return m == p.Mode
	case m.TakesOver():
		return p.PostCopy
	}
	return m != model.ModeThrottle || p.Throttle > 0
}
