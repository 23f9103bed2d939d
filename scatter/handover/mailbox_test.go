package handover

import (
	"sync"
	"testing"
)

// TestMailboxLosesNothing: what many put, one takes, each sender's events in their order. Nobody waits for the reader.
func TestMailboxLosesNothing(t *testing.T) {
	const senders, each = 8, 500
	var m Mailbox
	var wg sync.WaitGroup
	for vm := range senders {
		wg.Go(func() {
			for i := range each {
				m.Put(Event{VM: vm, Host: i})
			}
		})
	}
	next := make([]int, senders)
	for got := 0; got < senders*each; {
		<-m.Wait()
		for _, e := range m.Take() {
			if e.Host != next[e.VM] {
				t.Fatalf("event %d of sender %d came as number %d", e.Host, e.VM, next[e.VM])
			}
			next[e.VM]++
			got++
		}
	}
	wg.Wait()
	if list := m.Take(); list != nil {
		t.Errorf("%d events more than were put", len(list))
	}
}

func TestMailboxIsEmptyAtFirst(t *testing.T) {
	var m Mailbox
	select {
	case <-m.Wait():
		t.Error("there is something to read")
	default:
	}
	m.Put(Event{})
	m.Put(Event{})
	<-m.Wait()
	if n := len(m.Take()); n != 2 {
		t.Errorf("%d events", n)
	}
}
