package dedup

import "runtime"

// Workers are the goroutines that scan or make an index. The zero value is fine.
type Workers struct {
	Count int    // how many; 0 = one per CPU
	Begin func() // called by each before it begins, to give its thread a priority for example; nil = nothing
}

// complete replaces what is not said.
func (w Workers) complete() Workers {
	if w.Count <= 0 {
		w.Count = runtime.GOMAXPROCS(0)
	}
	if w.Begin == nil {
		w.Begin = func() {}
	}
	return w
}
