// Package wait has the pause of loops that look again and again.
package wait

import (
	"context"
	"time"
)

// For waits for some time, or until the context has ended, which is an error.
func For(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
