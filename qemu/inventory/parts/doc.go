// Package parts reads what a running virtual machine consists of: disks with all that is behind them, media, devices, back ends,
// processors and memory, and what goes on beside the guest, as its monitor tells.
package parts
