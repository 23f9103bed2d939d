package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/flags"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/scatter/pki"
)

func newPKI(a *app) *cobra.Command {
	c := &cobra.Command{
		Use:   "pki",
		Short: "Make the certificates by which hosts know each other",
		Long: `pki makes a small certificate authority and one directory of certificates per host, in the
layout of QEMU and libvirt. Directories that you have in that layout already will do as well.`,
		Annotations: exitHelp(exitPKI...),
		Args:        cobra.NoArgs,
		RunE:        needsCommand,
	}
	c.AddCommand(newPKIInit(a), newPKIIssue(a))
	return c
}

var exitPKI = []string{
	"0    the files are written",
	"1    failed, for example because a file exists already: nothing is ever overwritten",
	helpUsage,
}

type pkiInitOptions struct {
	dir  string
	days int
}

func newPKIInit(a *app) *cobra.Command {
	o := &pkiInitOptions{}
	c := &cobra.Command{
		Use:         "init --dir CA",
		Short:       "Make a certificate authority",
		Long:        "init writes ca-cert.pem and ca-key.pem. Keep the directory off the hosts: who has the key can evacuate to them.",
		Annotations: exitHelp(exitPKI...),
		Example:     "  scatter pki init --dir ca",
		Args:        cobra.NoArgs,
		RunE:        a.running(slog.LevelWarn, func(context.Context) error { return o.run(a) }),
	}
	c.Flags().StringVar(&o.dir, "dir", "", "`directory` to write to (required)")
	c.Flags().IntVar(&o.days, "days", days(pki.CALife), "how many `days` the authority is valid")
	return c
}

func (o *pkiInitOptions) run(a *app) error {
	if o.dir == "" {
		return usage.Errorf("--dir is required")
	}
	if err := checkDays(o.days); err != nil {
		return err
	}
	if err := pki.Init(o.dir, pki.Life(life(o.days))); err != nil {
		return err
	}
	return a.wrote(o.dir)
}

type pkiIssueOptions struct {
	ca, name, dir string
	ips           []string
	days          int
}

func newPKIIssue(a *app) *cobra.Command {
	o := &pkiIssueOptions{}
	c := &cobra.Command{
		Use:   "issue --ca CA --name NAME --ip IP --dir DIR",
		Short: "Make a host's certificates",
		Long: `issue writes ca-cert.pem, server-cert.pem, server-key.pem, client-cert.pem and client-key.pem for
one host, for 'scatter recv' and 'scatter send' alike. Keys have mode 0600.`,
		Annotations: exitHelp(exitPKI...),
		Example:     "  scatter pki issue --ca ca --name alpha --ip 10.0.0.1 --dir alpha",
		Args:        cobra.NoArgs,
		RunE:        a.running(slog.LevelWarn, func(context.Context) error { return o.run(a) }),
	}
	f := c.Flags()
	f.StringVar(&o.ca, "ca", "", "`directory` of the authority (required)")
	f.StringVar(&o.name, "name", "", "`name` of the host (required)")
	f.StringArrayVar(&o.ips, "ip", nil, "`address` at which the host is dialled; may be repeated (required)")
	f.StringVar(&o.dir, "dir", "", "`directory` to write to (required)")
	f.IntVar(&o.days, "days", days(pki.LeafLife), "how many `days` the certificates are valid")
	return c
}

func (o *pkiIssueOptions) run(a *app) error {
	if err := flags.Required("ca", o.ca != "", "name", o.name != "", "ip", len(o.ips) > 0, "dir", o.dir != ""); err != nil {
		return err
	}
	if err := checkDays(o.days); err != nil {
		return err
	}
	var ips []netip.Addr
	for _, s := range o.ips {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return usage.Errorf("--ip %q: must be an IP address", s)
		}
		ips = append(ips, ip)
	}
	if err := pki.Issue(o.ca, o.name, ips, o.dir, pki.Life(life(o.days))); err != nil {
		return err
	}
	return a.wrote(o.dir)
}

// wrote says where the files are.
func (a *app) wrote(dir string) error {
	if !a.json {
		_, err := fmt.Fprintln(a.stdout, dir)
		return err
	}
	return json.NewEncoder(a.stdout).Encode(struct {
		Type string `json:"type"`
		Dir  string `json:"dir"`
	}{"files", dir})
}

const day = 24 * time.Hour

func days(d time.Duration) int    { return int(d / day) }
func life(days int) time.Duration { return time.Duration(days) * day }

// checkDays keeps certificates within a century, far from the bounds of a time.Duration.
func checkDays(n int) error {
	if n < 1 || n > 36500 {
		return usage.Errorf("--days %d: must be between 1 and 36500", n)
	}
	return nil
}
