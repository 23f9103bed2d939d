package policy

import (
	"os"
	"path/filepath"
	"testing"
)

// TestResolveWhatIsBeingMade: a directory that somebody makes meanwhile is no broken link.
func TestResolveWhatIsBeingMade(t *testing.T) {
	name := filepath.Join(t.TempDir(), "dir")
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			_ = os.Mkdir(name, 0o700)
			_ = os.Remove(name)
		}
	}()
	for range 20_000 {
		if got, err := resolve(name); err != nil && !os.IsNotExist(err) || err == nil && got != name {
			t.Errorf("%q, %v", got, err)
			break
		}
	}
	close(stop)
	<-stopped
}
