package serial

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/lab/lan"
)

func TestSerialLog(t *testing.T) {
	s := &log{host: &lan.Host{Name: "target1"}}
	now := time.Now()
	// The line starts in the middle, because the guest moved while it wrote it, and ends in a later read.
	for _, piece := range []string{"34 5 0\r\n", "h10 2", "f 0\n", "CORRUPT own page 1\n\nh11 31 1\nh12 3"} {
		s.take([]byte(piece), now)
	}
	want := []Beat{{now, s.host, 0x10, 0x2f, 0}, {now, s.host, 0x11, 0x31, 1}}
	if got := s.Beats(); !slices.Equal(got, want) {
		t.Errorf("beats %+v, want %+v", got, want)
	}
	if got := s.Lines(); !slices.Equal(got, []string{"34 5 0", "CORRUPT own page 1"}) {
		t.Errorf("other lines %q", got)
	}
}

// TestWatcher: what is in a log, what comes, and a log that is not there yet are seen; one that is dropped is followed no more.
func TestWatcher(t *testing.T) {
	dir := t.TempDir()
	print := func(name, text string) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if _, err := f.WriteString(text); err != nil {
			t.Fatal(err)
		}
	}
	print("old.serial", "h1 2 0\n")
	w, err := NewWatcher()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	h := &lan.Host{Name: "source"}
	var logs []*log
	for _, name := range []string{"old.serial", "new.serial"} {
		s, err := w.watch(h, filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		logs = append(logs, s)
	}
	await := func(s *log, want int) {
		t.Helper()
		for until := time.Now().Add(10 * time.Second); len(s.Beats()) < want; time.Sleep(pollInterval) {
			if time.Now().After(until) {
				t.Fatalf("%s: %d beats seen, %d are there", s.path, len(s.Beats()), want)
			}
		}
	}
	await(logs[0], 1)
	print("old.serial", "h2 4 0\n")
	print("new.serial", "h3 6 0\nh4 8 0\n")
	await(logs[0], 2)
	await(logs[1], 2)
	w.drop(logs[:1])
	print("old.serial", "h5 2 0\n")
	print("new.serial", "h6 2 0\n")
	await(logs[1], 3)
	if n := len(logs[0].Beats()); n != 2 {
		t.Errorf("%d beats of a log that is not followed any more", n)
	}
}

func TestParseBeatRefuses(t *testing.T) {
	for _, line := range []string{"", "h", "h1", "h1 2", "h1 2 ", "h1  2", "x1 2 3", "h1 2 3 4", "h1 2 g", "h-1 2 3", "h1234567890abcdef 2 3"} {
		if b, ok := parseBeat([]byte(line)); ok {
			t.Errorf("%q is taken for %+v", line, b)
		}
	}
}

func FuzzParseBeat(f *testing.F) {
	f.Add([]byte("h1a2b 3c4d 0"))
	f.Fuzz(func(t *testing.T, line []byte) {
		if b, ok := parseBeat(line); ok && (len(line) < 6 || b.N >= 1<<60) {
			t.Errorf("%q is taken for %+v", line, b)
		}
	})
}

// beats returns the line of a guest that has beaten on two hosts, at times in milliseconds.
func beats(source, target *lan.Host, at map[*lan.Host][][2]int) *Line {
	start := time.Now()
	g := &Line{every: 20 * time.Millisecond}
	for _, h := range []*lan.Host{source, target} {
		s := &log{host: h}
		for _, b := range at[h] {
			s.beats = append(s.beats, Beat{At: start.Add(time.Duration(b[1]) * time.Millisecond), Host: h, N: uint64(b[0])})
		}
		g.logs = append(g.logs, s)
	}
	return g
}

func TestLongestPause(t *testing.T) {
	source, target := &lan.Host{Name: "source"}, &lan.Host{Name: "target1"}
	g := beats(source, target, map[*lan.Host][][2]int{
		source: {{0, 0}, {1, 500}, {2, 520}},
		target: {{3, 820}, {4, 840}},
	})
	all := g.Beats()
	p := g.LongestPause(all[1].At, all[4].At)
	if p.Length != 280*time.Millisecond || p.From.Host != source || p.To.Host != target {
		t.Errorf("pause %v from %v to %v", p.Length, p.From, p.To)
	}
	if p := g.LongestPause(all[0].At, all[4].At); p.Length != 480*time.Millisecond {
		t.Errorf("with the time before, pause %v", p.Length)
	}
	if err := g.Health().Err(); err != nil {
		t.Error(err)
	}
}

func TestHealthSeesTwoPlaces(t *testing.T) {
	source, target := &lan.Host{Name: "source"}, &lan.Host{Name: "target1"}
	for name, at := range map[string]map[*lan.Host][][2]int{
		"both go on":      {source: {{0, 0}, {1, 20}, {2, 41}}, target: {{1, 40}, {2, 60}}},
		"one starts late": {source: {{0, 0}, {1, 20}}, target: {{1, 40}}},
	} {
		if err := beats(source, target, at).Health().Err(); err == nil {
			t.Errorf("%s: not seen", name)
		}
	}
}
