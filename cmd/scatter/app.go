package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/scatter-vm/scatter/cmd/scatter/internal/config"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/usage"
	"github.com/scatter-vm/scatter/cmd/scatter/internal/view"
)

// app is one run of the program: its streams and the flags that every command has.
type app struct {
	stdout, stderr io.Writer
	getenv         func(string) string

	config   string
	json     bool
	logLevel slog.LevelVar

	started bool // a command's own work began: errors are no longer about usage
}

func newApp(stdout, stderr io.Writer, getenv func(string) string) *app {
	return &app{stdout: stdout, stderr: stderr, getenv: getenv}
}

// Main runs the command that args name and returns the exit status.
func (a *app) Main(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if err != nil && !a.started {
		err = &usage.Error{Err: err}
		// Flags may not have been read as far as --json.
		a.json = a.json || slices.Contains(args, "--json") || a.getenv(config.EnvName("json")) == "true"
	}
	sayExit(a.stderr, a.json, err)
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	c := &cobra.Command{
		Use:   "scatter",
		Short: "Move the running virtual machines of one host to many hosts at once",
		Long: `scatter empties a host: every running QEMU guest is live-migrated to one of several
target hosts. Memory that guests share crosses the source's link once, by IP multicast.

Run 'scatter recv' on each target, then 'scatter check', 'scatter plan' and 'scatter send'
on the source. 'scatter recover' decides after a crash where each guest lives.
` + config.Help,
		Annotations:       exitHelp("See 'scatter COMMAND --help'; docs/scripting.md has the whole table."),
		SilenceUsage:      true,
		SilenceErrors:     true,
		PersistentPreRunE: a.prepare,
		Args:              cobra.NoArgs,
		RunE:              needsCommand,
	}
	c.SetOut(a.stdout)
	c.SetErr(a.stderr)
	f := c.PersistentFlags()
	f.StringVar(&a.config, "config", "", "TOML `file` with values for flags")
	f.BoolVar(&a.json, "json", false, "print JSON lines on stdout; the last line on stderr is the exit object")
	f.Var((*levelValue)(&a.logLevel), "log-level", "least `level` of log lines on stderr: debug, info, warn or error")
	c.SetHelpTemplate(helpTemplate)
	c.AddCommand(newPKI(a), newRecv(a), newSend(a), newPlan(a), newCheck(a), newRecover(a), newBench(a), newVersion(a))
	return c
}

// helpTemplate puts the exit statuses last.
const helpTemplate = `{{with or .Long .Short}}{{. | trimTrailingWhitespaces}}

{{end}}{{.UsageString}}{{with .Annotations.exit}}
{{.}}{{end}}`

// needsCommand makes a command that only groups others fail instead of printing its help as if it had done something.
func needsCommand(c *cobra.Command, _ []string) error {
	return usage.Errorf("%s: which command? Try '%s --help'", c.CommandPath(), c.CommandPath())
}

// prepare gives flags that the command line left out their values from the environment and the file.
func (a *app) prepare(c *cobra.Command, _ []string) error {
	if err := config.Fill(c, a.getenv, &a.config); err != nil {
		return &usage.Error{Err: err}
	}
	return nil
}

// running wraps a command's work, so that errors before it are known to be about usage. The
// log starts at level, unless --log-level says otherwise.
func (a *app) running(level slog.Level, work func(ctx context.Context) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, _ []string) error {
		a.started = true
		if !c.Flags().Changed("log-level") {
			a.logLevel.Set(level)
		}
		return work(c.Context())
	}
}

// say tells people something on w, which is stderr or what stands for it: a line, under --json an object.
func (a *app) say(w io.Writer, format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	if !a.json {
		fmt.Fprintln(w, "scatter:", message)
		return
	}
	json.NewEncoder(w).Encode(struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}{"notice", message})
}

// logger writes to w what is at least as urgent as --log-level.
func (a *app) logger(w io.Writer) *slog.Logger {
	opt := &slog.HandlerOptions{Level: &a.logLevel}
	if a.json {
		return slog.New(slog.NewJSONHandler(w, opt))
	}
	return slog.New(slog.NewTextHandler(w, opt))
}

// newView shows an evacuation: under --json by lines on stdout, where events are wanted.
func (a *app) newView(events bool) *view.View {
	v := view.New(a.stdout, a.stderr, view.Options{JSON: a.json, Events: events})
	v.Log = a.logger(v)
	return v
}

// interruptible attaches Ctrl-C to ctx for as long as v is shown.
func (a *app) interruptible(ctx context.Context, v *view.View) (context.Context, func()) {
	say := func(format string, args ...any) { a.say(v, format, args...) }
	return interruptible(ctx, say, v.Between, os.Exit)
}

// levelValue is a log level as a flag.
type levelValue slog.LevelVar

func (v *levelValue) String() string { return "" } // the default is each command's own
func (v *levelValue) Type() string   { return "level" }

func (v *levelValue) Set(s string) error {
	switch s {
	case "debug", "info", "warn", "error":
		return (*slog.LevelVar)(v).UnmarshalText([]byte(s))
	}
	return fmt.Errorf("level %q: must be debug, info, warn or error", s)
}
