package lan

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
)

// run runs a command of the host and returns what it prints. An error holds what it printed on stderr.
func run(ctx context.Context, name string, args ...string) (string, error) {
	return output(exec.CommandContext(ctx, name, args...))
}

func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(stderr.String()))
	}
	return stdout.String(), nil
}

// script runs commands, one per line, each split at blanks.
func script(ctx context.Context, lines ...string) error {
	for _, line := range lines {
		args := strings.Fields(line)
		if _, err := run(ctx, args[0], args[1:]...); err != nil {
			return err
		}
	}
	return nil
}
