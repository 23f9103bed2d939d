package fill

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter/control"
	"github.com/scatter-vm/scatter/scatter/pageset"
	"github.com/scatter-vm/scatter/scatter/system"
)

const ownPages = 500

// ownMemory is some memory of this process, of which every third page is all zero and any other holds its number.
func ownMemory(t *testing.T) (*qemu.Memory, []system.RAMBlock) {
	t.Helper()
	mem, err := unix.Mmap(-1, 0, ownPages*4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	for i := range ownPages {
		if i%3 != 0 {
			binary.NativeEndian.PutUint64(mem[i*4096:], uint64(i))
		}
	}
	m, err := qemu.OpenMemory(os.Getpid(), []qemu.RAMBlock{{ID: "mem", Length: ownPages * 4096, MaxLength: ownPages * 4096, Host: uint64(uintptr(unsafe.Pointer(&mem[0])))}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m, []system.RAMBlock{{Name: "mem", Length: ownPages * 4096}}
}

// connected are the two ends of a connection.
func connected(t *testing.T) (ours, theirs *control.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	near, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close(); far.Close() })
	return control.NewConn(near, "target", 10*time.Second), control.NewConn(far, "source", 10*time.Second)
}

// counted is a pace that counts, and lets only one piece leave before something was waited for.
type counted struct {
	waited, charged atomic.Int64
	once            sync.Once
	asked           chan struct{}
}

func newCounted() *counted { return &counted{asked: make(chan struct{})} }

func (c *counted) Wait(ctx context.Context, n int) error {
	if c.waited.Add(int64(n)) == int64(n) {
		return nil
	}
	select {
	case <-c.asked:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (c *counted) Charge(n int) {
	c.charged.Add(int64(n))
	c.once.Do(func() { close(c.asked) })
}

// TestFillerSendsWhatIsLacked: all of it, once, as it is in memory, what is waited for past the pace; and ends when the target says that it has all.
func TestFillerSendsWhatIsLacked(t *testing.T) {
	mem, blocks := ownMemory(t)
	ours, theirs := connected(t)
	pace := newCounted()
	claimed := pageset.New(ownPages)
	f := &Filler{Mem: mem, Blocks: blocks, Rate: func() int64 { return 1 << 20 }, Pace: pace, Claim: claimed.Add}
	lacks := pageset.New(ownPages)
	lacks.AddRun(0, 0, ownPages)
	f.Begin(lacks, nil)
	ended := make(chan error, 1)
	go func() { ended <- f.Run(t.Context(), ours) }()

	got := pageset.New(ownPages)
	for got.Len() < ownPages {
		m, err := theirs.Receive()
		if err != nil {
			t.Fatal(err)
		}
		if err := control.EachPage(m.(control.Pages).Body, func(region int, n uint32, data []byte) error {
			want := make([]byte, 4096)
			if n%3 != 0 {
				binary.NativeEndian.PutUint64(want, uint64(n))
			}
			if (data == nil) != (n%3 == 0) || data != nil && !bytes.Equal(data, want) || !got.Add(pageset.Page{Region: region, Page: n}) {
				t.Errorf("page %d of region %d is wrong, or came twice", n, region)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if got.Len() < 20 {
			if err := theirs.Send(control.Wants{Body: control.AppendWant(nil, 0, ownPages-1)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := theirs.Send(control.Filled{Waits: 1, Median: 2}); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if f.Faults() == 0 || pace.charged.Load() < 4096 || pace.waited.Load() < 300*4096 || f.Waits().Median != 2 || claimed.Len() != ownPages {
		t.Errorf("%d faults, %d bytes past the pace, %d in it, %+v", f.Faults(), pace.charged.Load(), pace.waited.Load(), f.Waits())
	}
}

// TestFillerEndsWithItsConnection, and with what is no word of a target.
func TestFillerEndsWithItsConnection(t *testing.T) {
	mem, blocks := ownMemory(t)
	for name, last := range map[string]control.Message{"closed": nil, "a word": control.Run{}} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := connected(t)
			f := &Filler{Mem: mem, Blocks: blocks, Rate: func() int64 { return 1 << 20 }, Pace: newCounted()}
			f.Begin(pageset.New(ownPages), nil)
			ended := make(chan error, 1)
			go func() { ended <- f.Run(t.Context(), ours) }()
			if last == nil {
				theirs.Close()
			} else if err := theirs.Send(last); err != nil {
				t.Fatal(err)
			}
			if err := <-ended; err == nil {
				t.Error("ends as if all were there")
			}
		})
	}
}

// TestLearnRefusesWhatTheVMDoesNotHave: a target names blocks, ownPages and sizes, and none of them is believed that is not the VM's.
func TestLearnRefusesWhatTheVMDoesNotHave(t *testing.T) {
	block := []control.Block{{ID: "mem", Length: ownPages * 4096}}
	lacks := func(region int, first, n uint32) control.Lacks {
		return control.Lacks{Body: control.AppendRun(control.AppendLacks(nil, region), first, n)}
	}
	many := make([]byte, 1<<19)
	for name, c := range map[string]struct {
		messages []control.Message
		good     bool
	}{
		"all":                 {[]control.Message{lacks(0, 0, ownPages), control.TakeOver{Blocks: block}}, true},
		"another block":       {[]control.Message{control.TakeOver{Blocks: []control.Block{{ID: "rom", Length: ownPages * 4096}}}}, false},
		"another length":      {[]control.Message{control.TakeOver{Blocks: []control.Block{{ID: "mem", Length: 4096}}}}, false},
		"pages behind it":     {[]control.Message{lacks(0, 499, 2), control.TakeOver{Blocks: block}}, false},
		"another region":      {[]control.Message{lacks(1, 0, 1), control.TakeOver{Blocks: block}}, false},
		"no region":           {[]control.Message{control.Lacks{}, control.TakeOver{Blocks: block}}, false},
		"more than there are": {[]control.Message{control.Lacks{Body: many}, control.Lacks{Body: many}, control.Lacks{Body: many}}, false},
		"something else":      {[]control.Message{control.Run{}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			ours, theirs := connected(t)
			go func() {
				defer theirs.Close()
				for _, m := range c.messages {
					_ = theirs.Send(m) // who refuses one reads no more
				}
			}()
			f := &Filler{Blocks: []system.RAMBlock{{Name: "mem", Length: ownPages * 4096}}}
			if err := f.learn(ours); (err == nil) != c.good {
				t.Errorf("%v", err)
			}
		})
	}
}
