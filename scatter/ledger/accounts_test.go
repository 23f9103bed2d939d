package ledger

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestAccountsSayOnceThatNothingIsOpen: whatever is expected, confirmed, settled and given up in whatever order, a VM is done when its last
// block was sent and none is open, or it is given up; that is said once, and nobody waits for it from then on.
func TestAccountsSayOnceThatNothingIsOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const vms = 3
		var done []int
		a := newAccounts(vms, func(vm int) { done = append(done, vm) })
		open, pages, sent, over := make([]int, vms), make([]int64, vms), make([]bool, vms), make([]bool, vms)
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			vm := rapid.IntRange(0, vms-1).Draw(t, "vm")
			switch what := rapid.IntRange(0, 5).Draw(t, "what"); {
			case what < 2 && !sent[vm]:
				a.Expect([]int{vm})
				open[vm]++
			case what == 2 && open[vm] > 0:
				a.confirm(&Cargo{vms: []int{vm}, pages: []int64{5}})
				a.tell([]int{vm})
				open[vm]--
				pages[vm] += 5
			case what == 3 && open[vm] > 1:
				a.Settle([]int{vm, vm}) // of two blocks that went into one part
				open[vm] -= 2
			case what == 4:
				a.AllSent(vm)
				sent[vm] = true
			case what == 5 && rapid.Bool().Draw(t, "given up"):
				a.GiveUp(vm)
				sent[vm], open[vm], over[vm] = true, 0, true
			}
			over[vm] = over[vm] || sent[vm] && open[vm] == 0
			for vm, want := range over {
				if said := slices.Contains(done, vm); said != want || a.wait([]int{vm}) == want {
					t.Fatalf("vm %d: done %v, said %v, waits %v", vm, want, said, a.wait([]int{vm}))
				}
			}
		}
		slices.Sort(done)
		if n := len(done); len(slices.Compact(done)) != n || !slices.Equal(a.pages(), pages) {
			t.Fatalf("done: %v; pages %v, not %v", done, a.pages(), pages)
		}
	})
}

// TestGivenUpVMIsNeverDoneAgain: confirmations of what was in flight come later.
func TestGivenUpVMIsNeverDoneAgain(t *testing.T) {
	said := 0
	a := newAccounts(1, func(int) { said++ })
	a.Expect([]int{0})
	a.GiveUp(0)
	a.Expect([]int{0})
	a.Settle([]int{0, 0})
	a.AllSent(0)
	if said != 1 || a.wait([]int{0}) {
		t.Errorf("said %d times, waits %v", said, a.wait([]int{0}))
	}
}
