package bounds

import (
	"math"
	"os"
	"strings"
	"testing"
)

func TestRoom(t *testing.T) {
	r := Room{Memory: 4 << 30, VCPUs: 8}
	for _, c := range []struct {
		memory int64
		vcpus  int
		want   string // of the error
	}{
		{1 << 30, 4, ""},
		{3<<30 + 1, 1, "3072 MiB wanted, 3072 MiB free (recv --memory)"},
		{1 << 30, 5, "5 vcpus wanted, 4 free (recv --vcpus)"},
		{-1, 1, "memory of -1 bytes"},
		{1, -1, "-1 vcpus"},
		{math.MaxInt64, 1, "no room"},
		{3 << 30, 4, ""},
		{1, 0, "0 MiB free"},
		{0, 1, "0 free (recv --vcpus)"},
		{0, 0, ""},
	} {
		err := r.Take(c.memory, c.vcpus)
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("take %d bytes, %d vcpus: %v, want %q", c.memory, c.vcpus, err, c.want)
		}
	}
	if r.Free() != 0 || r.FreeVCPUs() != 0 {
		t.Errorf("free %d bytes, %d vcpus", r.Free(), r.FreeVCPUs())
	}
	r.Give(3<<30, 4)
	r.Give(1<<30, 4)
	if r.Free() != 4<<30 || r.FreeVCPUs() != 8 {
		t.Errorf("after giving all back: free %d bytes, %d vcpus", r.Free(), r.FreeVCPUs())
	}
}

// TestRoomOfTheHost: without --memory the kernel says what there is, less a reserve and what was promised.
func TestRoomOfTheHost(t *testing.T) {
	all := availableMemory()
	if all <= 0 {
		t.Fatal("MemAvailable cannot be read")
	}
	var r Room
	if free := r.Free(); free < 0 || free > 2*all {
		t.Errorf("free %d of about %d", free, all)
	}
	if err := r.Take(0, 1000); err != nil || r.FreeVCPUs() != 0 {
		t.Errorf("vcpus are not limited: %v, welcome says %d", err, r.FreeVCPUs())
	}
	if err := r.Take(1<<60, 1); err == nil {
		t.Error("took more than there is")
	}
	if n := ResidentMemory(os.Getpid()); n < 1<<20 || n > all || ResidentMemory(1<<30) != 0 {
		t.Errorf("this process has %d bytes in memory", n)
	}
	const promised = 4 << 30
	arrived := Room{Used: promised, Touched: func() int64 { return promised }}
	if more := arrived.Free() - (&Room{Used: promised}).Free(); more < promised/2 {
		t.Errorf("a VM that has all its memory leaves only %d bytes more than one that was promised it", more)
	}
	r.Used = 1 << 60
	if r.Free() != 0 {
		t.Errorf("free %d", r.Free())
	}
}
