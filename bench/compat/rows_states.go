package compat

import "slices"

// Ports of the machine by which a guest's kernel would do it. SeaBIOS has put the power management of a pc at 0x600.
const (
	powerPort = "hmp: o /w 0x604 "
	suspend   = powerPort + "0x2400"
	powerOff  = powerPort + "0x2000"
)

// enablePower does what SeaBIOS does later: it gives the power management its place.
var enablePower = []string{"hmp: o /w 0xcf8 0x80000b40", "hmp: o /w 0xcfc 0x601", "hmp: o /w 0xcf8 0x80000b80", "hmp: o /b 0xcfc 1"}

func powered(steps ...string) []string { return slices.Concat(enablePower, steps) }

// runStates are VMs that do not just run.
func runStates() Part {
	panicking := "-device pvpanic -action panic=pause"
	return Part{Title: "Run states", Text: "What the VM does when it is switched over, it does on the target.", Rows: []Row{
		{Name: "it runs", Verdict: Moves},
		{Name: "never started (`-S`)", Verdict: Moves, Paused: true},
		{Name: "started with `-S`, then continued", Verdict: Moves, Paused: true, Do: []string{"cont"}},
		{Name: "paused before", Verdict: Moves, Do: []string{"stop"}},
		{Name: "paused during bulk", Verdict: Moves, Stage: "bulk", During: []string{"stop"}},
		{Name: "paused before, continued during bulk", Verdict: Moves, Do: []string{"stop"}, Stage: "bulk", During: []string{"cont"}},
		{Name: "reset during bulk", Verdict: Moves, Stage: "bulk", During: []string{"system_reset"}},
		{Name: "suspended (S3) before", Verdict: Moves, Do: powered(suspend, "is: suspended"), Check: "cannot be woken"},
		{Name: "suspended (S3) during bulk", Verdict: Moves, Stage: "bulk", During: powered(suspend, "is: suspended"), Check: "cannot be woken"},
		{Name: "suspended and then paused", Verdict: Moves, Do: powered(suspend, "is: suspended", "stop")},
		{Name: "powered off, with `-no-shutdown`", Verdict: Moves, Options: "-no-shutdown", Do: powered(powerOff, "is: shutdown")},
		{Name: "powered off during bulk, with `-no-shutdown`", Verdict: Ended, Words: "powered itself off", Options: "-no-shutdown", Stage: "bulk", During: powered(powerOff, "is: shutdown")},
		{Name: "powered off by the guest during bulk", Verdict: Ended, Words: "ended", Stage: "bulk", During: powered(powerOff)},
		{Name: "reset during bulk with `-no-reboot`", Verdict: Ended, Words: "ended", Options: "-no-reboot", Stage: "bulk", During: []string{"system_reset"}},
		{Name: "`quit` during bulk", Verdict: Ended, Words: "ended", Stage: "bulk", During: []string{"quit"}},
		{Name: "guest panicked before", Verdict: Moves, Options: panicking, Do: []string{"hmp: o /b 0x505 1", "is: guest-panicked"}},
		{Name: "guest panicked during bulk", Verdict: Moves, Options: panicking, Stage: "bulk", During: []string{"hmp: o /b 0x505 1", "is: guest-panicked"}},
		{Name: "watchdog ran out before, with `-action watchdog=pause`", Verdict: Moves, Options: "-device ib700 -action watchdog=pause", Do: []string{
			"hmp: o /b 0x443 15", "is: watchdog"}},
		{Name: "watchdog ran out during bulk", Verdict: Moves, Options: "-device ib700 -action watchdog=pause", Stage: "bulk", During: []string{
			"hmp: o /b 0x443 15", "is: watchdog"}},
		{Name: "stopped by a disk's error, with `rerror=stop`", Verdict: Moves, Options: "-drive if=none,id=d0,file=$SHARED/a.qcow2,format=qcow2 -device virtio-blk-pci,drive=d0,id=disk0,bootindex=0,rerror=stop",
			Images: images("-f qcow2 -o preallocation=metadata $SHARED/a.qcow2 64M"), Spoilt: "$SHARED/a.qcow2", Do: []string{"is: io-error"}},
	}}
}

// migrationSettings are those that another manager may have left.
func migrationSettings() Part {
	cap := func(name string, v Verdict, words, remedy string) Row {
		return Row{Name: "capability `" + name + "`", Verdict: v, Words: words, Remedy: remedy, Do: []string{
			`migrate-set-capabilities {"capabilities": [{"capability": "` + name + `", "state": true}]}`}}
	}
	refused := func(name string) Row { return cap(name, Refused, name, "migrate-set-capabilities") }
	moves := func(name string) Row { return cap(name, Moves, "", "") }
	param := func(name, value string, v Verdict, words, remedy string) Row {
		return Row{Name: "parameter `" + name + "`", Verdict: v, Words: words, Remedy: remedy, Do: []string{`migrate-set-parameters {"` + name + `": ` + value + `}`}}
	}
	p := Part{Title: "Migration settings", Text: "What another manager has set on the source's QEMU. scatter puts back what it changes, whatever the end."}
	for _, name := range []string{"multifd", "xbzrle", "mapped-ram", "x-ignore-shared", "background-snapshot", "x-colo", "release-ram", "dirty-bitmaps"} {
		p.Rows = append(p.Rows, refused(name))
	}
	p.Rows = append(p.Rows, moves("pause-before-switchover"))
	for _, name := range []string{"auto-converge", "postcopy-ram", "events", "return-path", "late-block-activate", "validate-uuid"} {
		p.Rows = append(p.Rows, moves(name))
	}
	p.Rows = append(p.Rows,
		param("tls-creds", `"tls0"`, Refused, "tls-creds", "clear it"),
		param("mode", `"cpr-reboot"`, Refused, "cpr-reboot", "normal"),
		param("max-bandwidth", "1048576", Moves, "", ""),
		param("downtime-limit", "5", Moves, "", ""),
		param("cpu-throttle-initial", "50", Moves, "", ""),
		param("multifd-channels", "8", Moves, "", ""),
		param("announce-rounds", "9", Moves, "", ""),
	)
	return p
}
