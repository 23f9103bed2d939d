//go:build lab

package deploy_test

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/scatter-vm/scatter/bench/deploy"
	"github.com/scatter-vm/scatter/bench/lab/lan"
)

// Files for operators, from here.
const (
	unitFile   = "../../docs/scatter-recv.service"
	scriptFile = "../../docs/evacuate-host.sh"
)

// The maintenance script empties a host onto targets whose recv runs as the systemd unit says: from a configuration file,
// with no more capabilities than those, telling systemd when it is ready.
func TestLabOperatorFiles(t *testing.T) {
	d, guests := stage(t)
	for _, h := range d.Lab.Targets {
		receiveAsUnit(t, d, h)
	}
	reports := t.TempDir()
	source := d.Lab.Source
	args := []string{"--yes", "--report-dir", reports, "--", "--discover", filepath.Join(source.Dir, "*.qmp"),
		"--interface", source.Interface, "--tls-dir", deploy.TLSDir(source), "--run-dir", deploy.RunDir(source), "--rate", "500mbit"}
	for _, h := range d.Lab.Targets {
		args = append(args, "--to", h.Name+"="+d.Address(h))
	}
	script := source.Command(t.Context(), scriptFile, args...)
	find, err := deploy.FindQEMUs(reports)
	if err != nil {
		t.Fatal(err)
	}
	script.Env = append(os.Environ(), "SCATTER="+d.Binary, "FIND_QEMUS="+find)
	out, err := script.CombinedOutput()
	if err != nil {
		t.Fatalf("script: %v: %s", err, out)
	}
	arrived(t, d, guests)
	if list, err := filepath.Glob(filepath.Join(reports, "*.json")); err != nil || len(list) != 1 {
		t.Errorf("reports %q, %v; the script says: %s", list, err, out)
	}
}

// receiveAsUnit starts recv on h with what the unit says that needs no systemd.
func receiveAsUnit(t *testing.T, d *deploy.Deployment, h *lan.Host) {
	t.Helper()
	unit := readUnit(t)
	argv := strings.Fields(unit["ExecStart"])
	for i, arg := range argv {
		switch arg {
		case "/usr/local/bin/scatter":
			argv[i] = d.Binary
		case "/etc/scatter/recv.toml":
			argv[i] = writeConfig(t, d, h)
		}
	}
	capabilities := "-all"
	for _, name := range strings.Fields(unit["CapabilityBoundingSet"]) {
		capabilities += ",+" + strings.ToLower(strings.TrimPrefix(name, "CAP_"))
	}
	if unit["NoNewPrivileges"] != "yes" || unit["Type"] != "notify" || capabilities == "-all" {
		t.Fatalf("the unit is not as this test knows it: %v", unit)
	}
	ready := notifySocket(t, h)
	argv = append([]string{"env", "NOTIFY_SOCKET=" + ready.LocalAddr().String(),
		"setpriv", "--bounding-set", capabilities, "--inh-caps", "-all", "--no-new-privs"}, argv...)
	if _, err := d.ReceiveWith(t.Context(), h, append(argv, "--log-level", "info")...); err != nil {
		t.Fatal(err)
	}
	awaitReady(t, ready)
}

// readUnit returns the settings of the unit.
func readUnit(t *testing.T) map[string]string {
	t.Helper()
	f, err := os.Open(unitFile)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	settings := make(map[string]string)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = value
		}
	}
	return settings
}

// writeConfig writes the flags of recv on h as a configuration file.
func writeConfig(t *testing.T, d *deploy.Deployment, h *lan.Host) string {
	t.Helper()
	path := filepath.Join(h.Dir, "recv.toml")
	config := fmt.Sprintf("name = %q\nlisten = %q\ninterface = %q\ntls-dir = %q\nrun-dir = %q\nmemory = \"200MiB\"\n"+
		"allow-source = [%q]\nrewrite = [%q]\nallow-path = [\"%s\"]\nallow-network = true\n",
		h.Name, d.Address(h), h.Interface, deploy.TLSDir(h), deploy.RunDir(h), d.Lab.Source.Name, d.Rewrite(h),
		strings.Join(d.Lab.AllowPaths(), `", "`))
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// notifySocket stands for systemd's.
func notifySocket(t *testing.T, h *lan.Host) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(h.Dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func awaitReady(t *testing.T, conn *net.UnixConn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 1024)
	for {
		n, err := conn.Read(b)
		if err != nil {
			t.Fatal("recv never said that it is ready:", err)
		}
		if strings.Contains(string(b[:n]), "READY=1") {
			return
		}
	}
}
