// Package refusals keeps what targets have answered to questions about VMs: which of them would not take which, and why. It asks nobody.
package refusals

import (
	"maps"
	"slices"
	"sync"
)

// Question is what a target is asked: would it take this VM? Both are numbers that do not change while questions are open.
type Question struct{ Host, VM int }

// Book keeps which targets would not take which VMs.
type Book struct {
	mu      sync.Mutex // guards the fields below
	why     map[Question]error
	tried   map[Question]bool
	untried map[Question]string // why
	shared  map[Question][]int  // disks of the VM that the host has already
	noPost  map[Question]string // why the VM must have all of its memory there before it runs
	asked   map[Question]bool   // that have no answer yet
	done    chan struct{}       // closed when every answer is there
	news    chan struct{}       // gets something, now and then, while answers come
}

// Ask begins to wait for the answers to questions. try: they are about more than a judgement, and need not be asked again.
func (r *Book) Ask(questions []Question, try bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.why == nil {
		r.why, r.tried, r.untried, r.noPost, r.shared = make(map[Question]error), make(map[Question]bool), make(map[Question]string), make(map[Question]string), make(map[Question][]int)
	}
	r.asked, r.done, r.news = make(map[Question]bool), make(chan struct{}), make(chan struct{}, 1)
	for _, q := range questions {
		r.asked[q] = true
		if try {
			r.tried[q] = true
		}
	}
	if len(questions) == 0 {
		close(r.done)
	}
}

// Open tells whether it makes sense to ask: the VM is not refused there, and was not tried.
func (r *Book) Open(q Question) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why[q] == nil && !r.tried[q]
}

// Answer takes the answer to a question; nil = the host takes the VM. Only the first counts, and only if it was asked.
func (r *Book) Answer(q Question, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.asked[q] {
		return
	}
	delete(r.asked, q)
	if err != nil {
		r.why[q] = err
	}
	select {
	case r.news <- struct{}{}:
	default:
	}
	if len(r.asked) == 0 {
		close(r.done)
	}
}

// Note keeps why a host has not tried a VM that it is asked about, and why it does not take it by post-copy.
func (r *Book) Note(q Question, untried, noPost string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked[q] {
		r.untried[q], r.noPost[q] = untried, noPost
	}
}

// WhyNoPostCopy is why a host takes a VM only with all of its memory; "" if it need not, or was not asked.
func (r *Book) WhyNoPostCopy(q Question) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.noPost[q]
}

// Share keeps which of a VM's disks a host has already.
func (r *Book) Share(q Question, disks []int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asked[q] {
		r.shared[q] = disks
	}
}

// Shares tells whether a host has one of a VM's disks already.
func (r *Book) Shares(q Question, disk int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.shared[q], disk)
}

// WhyUntried is why a host has not tried a VM; "" if it has.
func (r *Book) WhyUntried(q Question) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.untried[q]
}

// Explain replaces a refusal by one that says more.
func (r *Book) Explain(q Question, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why[q] = err
}

// HostLost refuses all that a host has not answered.
func (r *Book) HostLost(host int, err error) {
	r.mu.Lock()
	asked := slices.Collect(maps.Keys(r.asked))
	r.mu.Unlock()
	for _, q := range asked {
		if q.Host == host {
			r.Answer(q, err)
		}
	}
}

// Of is why a host refuses a VM, or nil.
func (r *Book) Of(q Question) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why[q]
}

// Everywhere is the reasons of all hosts if every one refuses vm, else nothing.
func (r *Book) Everywhere(vm, hosts int) []string {
	var all []string
	for h := range hosts {
		err := r.Of(Question{h, vm})
		if err == nil {
			return nil
		}
		all = append(all, err.Error())
	}
	return all
}

// Done is closed when every answer is there to what was asked last.
func (r *Book) Done() <-chan struct{} { return r.done }

// News gets something, now and then, while answers come.
func (r *Book) News() <-chan struct{} { return r.news }
