package survey

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/qemu/internal/kit"
)

// TestSurvey: a QEMU is asked once, and again when its file has changed.
func TestSurvey(t *testing.T) {
	dir := t.TempDir()
	binary, starts := filepath.Join(dir, "qemu"), filepath.Join(dir, "starts")
	install := func(when time.Time) {
		script := "#!/bin/sh\necho >>" + starts + "\nexec " + kit.NeedQEMU(t) + ` "$@"` + "\n"
		if err := os.WriteFile(binary, []byte(script), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(binary, when, when); err != nil {
			t.Fatal(err)
		}
	}
	version, err := exec.Command(kit.NeedQEMU(t), "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	var p Programs
	for i, when := range []time.Time{time.Unix(1, 0), time.Unix(1, 0), time.Unix(2, 0)} {
		install(when)
		s, err := p.Survey(t.Context(), binary)
		if err != nil {
			t.Fatal(err)
		}
		if s.Version == "" || !strings.HasPrefix(string(version), "QEMU emulator version "+s.Version+"\n") {
			t.Errorf("version %q, want that of %q", s.Version, version)
		}
		if !s.Machines["pc"] || !s.Machines["q35"] || s.Machines["nonesuch"] || len(s.Machines) < 10 {
			t.Errorf("machines %v", s.Machines)
		}
		if s.Aliases["virtio-net"] != "virtio-net-pci" || s.Aliases["lsi"] != "lsi53c895a" || s.Aliases["e1000"] != "" {
			t.Errorf("aliases %v", s.Aliases)
		}
		b, err := os.ReadFile(starts)
		if want := max(1, i); err != nil || len(b) != want {
			t.Errorf("%d starts, %v; want %d", len(b), err, want)
		}
	}
}

func TestSurveyOfOthers(t *testing.T) {
	var p Programs
	for _, binary := range []string{"/nonexistent/qemu", "/bin/true", "/bin/cat", "/dev/null"} {
		if s, err := p.Survey(t.Context(), binary); err == nil {
			t.Errorf("%s: %+v", binary, s)
		}
	}
	for _, out := range []string{"", "{}", `{"QMP":{}}` + "\n", `{"return":{}}`, "{\"return\":{}}\n{\"return\":[]}\n{\"return\":1}\n", "{\"error\":{\"desc\":\"x\"}}\n"} {
		if s, err := readSurvey(strings.NewReader(out)); err == nil {
			t.Errorf("%q: %+v", out, s)
		}
	}
}
