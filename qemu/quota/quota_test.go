package quota

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestMain is also the program that takes time from a process and is killed then.
func TestMain(m *testing.M) {
	var pid int
	if n, _ := fmt.Sscanf(os.Getenv("QUOTA_TEST_PID"), "%d", &pid); n == 0 {
		os.Exit(m.Run())
	}
	q, err := of(pid)
	if err == nil {
		time.Sleep(shortest)
		err = q.Take(0.9)
	}
	fmt.Println(err)
	select {}
}

// of is a quota for a process of one thread.
func of(pid int) (*Quota, error) {
	use, err := Measure(pid, []int{pid})
	if err != nil {
		return nil, err
	}
	return Of(use)
}

// busy is a process that uses a processor.
func busy(t *testing.T) int {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "while :; do :; done")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return cmd.Process.Pid
}

// share is what a process uses of a processor.
func share(t *testing.T, pid int) float64 {
	t.Helper()
	before, err := used(pid, []int{pid})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	time.Sleep(500 * time.Millisecond)
	after, err := used(pid, []int{pid})
	if err != nil {
		t.Fatal(err)
	}
	return (after - before).Seconds() / time.Since(began).Seconds()
}

func groupNow(t *testing.T, pid int) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/cgroup", pid, pid))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestTake: what is taken is a share of the use, which changes and ends as it is said.
func TestTake(t *testing.T) {
	needsController(t)
	pid := busy(t)
	was := groupNow(t, pid)
	q, err := of(pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := q.Take(0.5); err == nil {
		t.Error("taken of a use that is not known")
	}
	time.Sleep(500 * time.Millisecond)
	for _, take := range []float64{0.5, 0.9, 0.99, 0.6} {
		if err := q.Take(take); err != nil {
			t.Fatal(err)
		}
		if got, most := share(t, pid), 1.25*(1-take)*q.use.processors+0.02; got > most {
			t.Errorf("of %.2f processors %.2f are taken: it has %.3f, want at most %.3f", q.use.processors, take, got, most)
		}
	}
	if err := q.Take(0); err != nil {
		t.Fatal(err)
	}
	if now := groupNow(t, pid); now != was {
		t.Errorf("it is in %s, was in %s", now, was)
	}
	if _, err := os.Stat(q.group.dir); err == nil {
		t.Errorf("%s is left", q.group.dir)
	}
	if err := q.Take(0); err != nil {
		t.Errorf("given back twice: %v", err)
	}
}

// TestTakenIsGivenBackAfterKill: whoever has taken time is killed, and the process has all of it again.
func TestTakenIsGivenBackAfterKill(t *testing.T) {
	needsController(t)
	pid := busy(t)
	was := groupNow(t, pid)
	taker := exec.Command(os.Args[0])
	taker.Env = append(os.Environ(), fmt.Sprintf("QUOTA_TEST_PID=%d", pid))
	out, err := taker.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := taker.Start(); err != nil {
		t.Fatal(err)
	}
	defer taker.Wait()
	line, _ := bufio.NewReader(out).ReadString('\n')
	if line != "<nil>\n" || groupNow(t, pid) == was {
		t.Errorf("%q, in %s", line, groupNow(t, pid))
	}
	taker.Process.Signal(syscall.SIGKILL)
	for end := time.Now().Add(10 * time.Second); groupNow(t, pid) != was; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it is in %s, was in %s", groupNow(t, pid), was)
		}
	}
}

// needsController skips where nobody may use the kernel's processor controller.
func needsController(t *testing.T) {
	t.Helper()
	g, err := groupOf(os.Getpid(), os.Getpid())
	if err == nil {
		if err = os.Mkdir(g.dir, 0o755); err == nil {
			os.Remove(g.dir)
		}
	}
	if err != nil && os.Getenv("CI") == "" {
		t.Skipf("no processor controller for us: %v", err)
	}
}

func TestFind(t *testing.T) {
	const (
		hybrid = "25 1 0:23 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n26 25 0:24 / /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n" +
			"27 25 0:25 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
		unified   = "25 1 0:23 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
		container = `25 1 0:23 /pod /sys/fs/c\040group ro - cgroup2 cgroup2 rw` + "\n"
	)
	for name, c := range map[string]struct{ mounts, of, want string }{
		"version 1":            {hybrid, "9:name=systemd:/a\n2:cpu,cpuacct:/machine/vm1\n0::/vm1\n", "/sys/fs/cgroup/cpu,cpuacct/machine/vm1 false"},
		"in the root":          {hybrid, "2:cpu,cpuacct:/\n0::/\n", "/sys/fs/cgroup/cpu,cpuacct false"},
		"version 2":            {unified, "0::/machine.slice/vm1.scope\n", "/sys/fs/cgroup/machine.slice/vm1.scope true"},
		"of a container":       {container, "0::/pod/vm1\n", "/sys/fs/c group/vm1 true"},
		"outside of it":        {container, "0::/other\n", ""},
		"not mounted":          {"", "2:cpu:/\n0::/\n", ""},
		"only other ones":      {hybrid, "3:cpuset:/\n", ""},
		"nothing that is said": {"x - y\n", "::\n\nz", ""},
	} {
		g, err := find(c.mounts, c.of)
		got := fmt.Sprintf("%s %v", g.parent, g.v2)
		if err != nil {
			got = ""
		}
		if got != c.want {
			t.Errorf("%s: %q, %v, want %q", name, got, err, c.want)
		}
	}
}

// TestQuotas: the kernel takes no quota below a millisecond, and no period above the longest that is chosen.
func TestQuotas(t *testing.T) {
	dir := t.TempDir()
	for name, want := range map[float64]string{2: "20000 10000", 0.5: "5000 10000", 0.05: "1000 20000", 0.0001: "1000 100000"} {
		for _, file := range []string{"cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"} {
			os.WriteFile(dir+"/"+file, nil, 0o600)
		}
		if err := (group{dir: dir, v2: true}).limit(name); err != nil {
			t.Fatal(err)
		}
		b, _ := os.ReadFile(dir + "/cpu.max")
		if got := strings.TrimSpace(string(b)); got != want {
			t.Errorf("%v processors: %q, want %q", name, got, want)
		}
	}
}
