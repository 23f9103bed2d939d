package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os/signal"
	"os/user"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flags"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/metrics"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/units"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/qemu"
	"github.com/scatter-vm/scatter/scatter"
)

type recvOptions struct {
	flags.Net
	name, listen string
	udpPorts     string
	memory       units.Size
	vcpus        int
	allowSources []string
	allowPaths   []string
	allowProgs   []string
	allowNet     bool
	allowPorts   []string
	allowIfs     []string
	runAs        string
	unconfined   bool
	qemu         string
	rewrites     []string
	launcher     string
	noDirect     bool
	metrics      string
}

func newRecv(a *app) *cobra.Command {
	o := &recvOptions{}
	c := &cobra.Command{
		Use:   "recv --name N --listen IP:PORT --interface IF --tls-dir DIR",
		Short: "Receive VMs on this host",
		Long: `recv waits for evacuations and runs the VMs that come. A VM's QMP socket is RUN-DIR/<vm>.qmp.
Each VM's QEMU has a session of its own, under systemd a scope of its own: stopping recv never
stops a VM that has arrived. SIGTERM or Ctrl-C ends recv; VMs still on their way stay at their source.

The source's QEMU command line is run again here, with monitor, QMP, pid file and incoming options
replaced and paths rewritten by --rewrite, if the launch policy lets it: the binary must be --qemu
or /usr/bin/qemu-system-*; options that run programs, open host files outside --allow-path, or make
connections are refused by name. The kernel keeps the QEMU to the same (Landlock), as long as it
lives: images can name other files. Firmware of this host is only read. With --launcher another program starts the QEMU: it gets the VM's
description as JSON on stdin and prints the QMP socket.`,
		Annotations: exitHelp(
			"0    stopped by a signal",
			helpFailed,
			helpUsage),
		Example: `  scatter recv --name beta --listen 10.0.0.2:7400 --interface eth1 --tls-dir /etc/scatter/tls \
      --memory 64GiB --allow-source alpha --rewrite /srv/old=/srv/images`,
		Args: cobra.NoArgs,
		RunE: a.running(slog.LevelInfo, func(ctx context.Context) error { return o.run(ctx, a) }),
	}
	f := c.Flags()
	o.Net.Add(f)
	f.StringVar(&o.name, "name", "", "this host's `name`, as in its certificate (required)")
	f.StringVar(&o.listen, "listen", "", "`IP:PORT` to listen at (required)")
	f.StringVar(&o.udpPorts, "udp-ports", "", "UDP `ports` for unicast datagrams, FIRST-LAST, one for each evacuation at one time (default: any that is free)")
	f.Var(&o.memory, "memory", "guest memory that this host accepts, as in 64GiB (default: what is available)")
	f.IntVar(&o.vcpus, "vcpus", 0, "vCPUs that this host accepts (default: any number)")
	f.StringArrayVar(&o.allowSources, "allow-source", nil, "certificate `name` that may evacuate to here; may be repeated (default: any of the authority)")
	f.StringArrayVar(&o.allowPaths, "allow-path", nil, "`prefix` of host files that VMs may open; may be repeated (default: "+strings.Join(defaultAllowPaths, ", ")+")")
	f.StringArrayVar(&o.allowProgs, "allow-program", nil, "`path` of a program that QEMU may start, such as a bridge helper; may be repeated (default: none)")
	f.BoolVar(&o.allowNet, "allow-network", false, "let VMs have back ends that connect from this host, or listen at its ports from 1024 on: user networking, sockets, network disks")
	f.StringArrayVar(&o.allowPorts, "allow-port", nil, "TCP `port` at which VMs may listen for VNC and SPICE, or ports, as in 5900-5999; may be repeated (default 5700-6923)")
	f.StringArrayVar(&o.allowIfs, "allow-interface", nil, "`pattern` of network interfaces and bridges that VMs may attach to, as in tap*; may be repeated (default: all)")
	f.StringVar(&o.runAs, "run-as", "", "`user` that a VM's QEMU becomes when it has opened its files (default: the same as recv)")
	f.BoolVar(&o.unconfined, "unconfined", false, "trust what is inside of disk images: the kernel does not keep a VM's QEMU to its files and ports (Landlock)")
	f.StringVar(&o.qemu, "qemu", "", "`path` of the QEMU binary to run (default: the source's, if it is /usr/bin/qemu-system-*)")
	f.StringArrayVar(&o.rewrites, "rewrite", nil, "replace the beginning of the source's paths, as `FROM=TO`; the longest that fits wins; may be repeated")
	f.StringVar(&o.launcher, "launcher", "", "`command` that starts the QEMU instead")
	f.StringVar(&o.metrics, "metrics", "", "`IP:PORT` at which Prometheus can scrape what peers make this target hold; it should be one that only the monitoring reaches")
	f.BoolVar(&o.noDirect, "no-direct", false, "never write guest memory directly; all pages go through QEMU's incoming socket")
	return c
}

func (o *recvOptions) config() (scatter.RecvConfig, error) {
	cfg := scatter.RecvConfig{
		Name: o.name, Interface: o.Interface, TLSDir: o.TLSDir, RunDir: o.RunDir, Memory: int64(o.memory), VCPUs: o.vcpus,
		AllowSources: o.allowSources, Launcher: o.launcher, NoDirect: o.noDirect,
		Policy: qemu.LaunchPolicy{QEMU: o.qemu, AllowPaths: o.allowPaths, AllowPrograms: o.allowProgs, AllowNetwork: o.allowNet,
			AllowInterfaces: o.allowIfs, RunAs: o.runAs, Unconfined: o.unconfined},
	}
	if len(o.allowPaths) == 0 {
		cfg.Policy.AllowPaths = defaultAllowPaths
	}
	if err := flags.Required("name", o.name != "", "listen", o.listen != "", "interface", o.Interface != "",
		"tls-dir", o.TLSDir != "", "run-dir", o.RunDir != ""); err != nil {
		return cfg, err
	}
	if o.vcpus < 0 {
		return cfg, usage.Errorf("--vcpus %d: must not be negative", o.vcpus)
	}
	for _, pattern := range o.allowIfs {
		if _, err := path.Match(pattern, ""); err != nil {
			return cfg, usage.Errorf("--allow-interface %q: %v", pattern, err)
		}
	}
	if o.runAs != "" {
		if _, err := user.Lookup(o.runAs); err != nil {
			return cfg, usage.Errorf("--run-as: %v", err)
		}
	}
	var err error
	if cfg.Listen, err = parseListen(o.listen); err != nil {
		return cfg, &usage.Error{Err: err}
	}
	if o.udpPorts != "" {
		ports, err := parsePorts("udp-ports", []string{o.udpPorts})
		if err != nil {
			return cfg, &usage.Error{Err: err}
		}
		cfg.Ports = [2]uint16{ports[0].First, ports[0].Last}
	}
	if cfg.Policy.Rewrites, err = parseRewrites(o.rewrites); err != nil {
		return cfg, &usage.Error{Err: err}
	}
	if cfg.Policy.AllowPorts, err = parsePorts("allow-port", o.allowPorts); err != nil {
		return cfg, &usage.Error{Err: err}
	}
	return cfg, flags.Absolute(&cfg.TLSDir, &cfg.RunDir)
}

func parseListen(s string) (netip.AddrPort, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil || ap.Addr().IsMulticast() {
		return ap, fmt.Errorf("--listen %q: want IP:PORT of this host, as in 10.0.0.2:7400", s)
	}
	return ap, nil
}

// defaultAllowPaths are where disk images are. Firmware may be read wherever distributions keep it.
var defaultAllowPaths = []string{"/var/lib/libvirt/images", "/var/lib/scatter"}

// parsePorts reads ports and ranges of ports.
func parsePorts(flag string, list []string) ([]qemu.PortRange, error) {
	var all []qemu.PortRange
	for _, s := range list {
		from, to, isRange := strings.Cut(s, "-")
		if !isRange {
			to = from
		}
		first, ferr := strconv.ParseUint(from, 10, 16)
		last, lerr := strconv.ParseUint(to, 10, 16)
		if ferr != nil || lerr != nil || first == 0 || last < first {
			return nil, fmt.Errorf("--%s %q: want a port, or FIRST-LAST", flag, s)
		}
		all = append(all, qemu.PortRange{First: uint16(first), Last: uint16(last)})
	}
	return all, nil
}

func parseRewrites(list []string) ([]qemu.Rewrite, error) {
	var all []qemu.Rewrite
	for _, s := range list {
		from, to, ok := strings.Cut(s, "=")
		if !ok || from == "" || to == "" {
			return nil, fmt.Errorf("--rewrite %q: want FROM=TO", s)
		}
		all = append(all, qemu.Rewrite{From: from, To: to})
	}
	return all, nil
}

func (o *recvOptions) run(ctx context.Context, a *app) error {
	cfg, err := o.config()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(ctx, endings()...)
	defer stop()
	cfg.Log = a.logger(a.stderr)
	cfg.Ready = func(at netip.AddrPort) { a.ready(cfg.Log, at) }
	if o.metrics != "" {
		m := metrics.New(buildVersion())
		stop, err := m.Serve(ctx, o.metrics, cfg.Log)
		if err != nil {
			return err
		}
		defer stop()
		cfg.Limits = m.SetLimits
	}
	err = scatter.Receive(ctx, cfg)
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, scatter.ErrCancelled)) {
		return nil
	}
	return err
}

// ready tells scripts and systemd that sources may dial.
func (a *app) ready(log *slog.Logger, at netip.AddrPort) {
	if a.json {
		json.NewEncoder(a.stdout).Encode(struct {
			Type string         `json:"type"`
			Addr netip.AddrPort `json:"addr"`
		}{"ready", at})
	}
	if err := notifySystemd(a.getenv("NOTIFY_SOCKET"), "READY=1\nSTATUS=listening at "+at.String()); err != nil {
		log.Warn("systemd was not told", "err", err)
	}
}
