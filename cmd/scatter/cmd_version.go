package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/scatter"
)

// version is what the linker was told, or else what the build recorded.
var version string

func newVersion(a *app) *cobra.Command {
	return &cobra.Command{
		Use:         "version",
		Short:       "Print the version",
		Long:        "version prints the program's version and that of its protocol. Source and targets must speak the same protocol version.",
		Annotations: exitHelp("0    always"),
		Args:        cobra.NoArgs,
		RunE:        a.running(slog.LevelWarn, func(context.Context) error { return a.printVersion() }),
	}
}

func (a *app) printVersion() error {
	if a.json {
		return json.NewEncoder(a.stdout).Encode(struct {
			Type     string `json:"type"`
			Version  string `json:"version"`
			Protocol int    `json:"protocol"`
		}{"version", buildVersion(), scatter.ProtocolVersion})
	}
	_, err := fmt.Fprintf(a.stdout, "scatter %s protocol %d %s %s/%s\n", buildVersion(), scatter.ProtocolVersion, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}

func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}
