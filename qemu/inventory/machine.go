package inventory

import (
	"context"
	"strings"
)

func (inv *Inventory) readMachine(ctx context.Context, m Monitor) error {
	var machine string
	err := m.Do(ctx, "qom-get", map[string]string{"path": "/machine", "property": "type"}, &machine)
	inv.Machine = strings.TrimSuffix(machine, "-machine")
	return err
}
