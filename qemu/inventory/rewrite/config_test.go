package rewrite

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestReadConfigRefuses(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mkfifo(dir+"/fifo", 0o600); err != nil {
		t.Fatal(err)
	}
	for content, want := range map[string]string{
		"[nonesuch]\n": `group "nonesuch"`, "a = \"b\"\n": "neither", "[device]\nx\n": "line 2", "[device]\ndriver = e1000\n": "neither",
		"[device \"x\"\n": "neither", strings.Repeat("#", maxConfig+1): "larger",
	} {
		file := dir + "/config"
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Expand([]string{"qemu", "-readconfig", file}, os.Getpid()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v", content, err)
		}
	}
	for _, file := range []string{"/nonexistent", dir, dir + "/fifo"} {
		if _, err := Expand([]string{"qemu", "-readconfig", file}, os.Getpid()); err == nil {
			t.Errorf("%s is read", file)
		}
	}
	options, err := parseConfig(strings.NewReader("[drive \"d0\"]\nfile = \"/a,b\"\nformat=\"raw\"\n"))
	if err != nil || len(options) != 1 || options[0].Value != "id=d0,file=/a,,b,format=raw" {
		t.Errorf("%+v, %v", options, err)
	}
	argv := []string{"qemu", "-m", "16", "disk"}
	if got, err := Expand(argv, 0); err != nil || cmp.Diff(got, argv) != "" {
		t.Errorf("%q, %v", got, err)
	}
}
