#!/usr/bin/env bash
#
# Empty this host before maintenance: plan, show, ask, send, and act on how it ended.
#
#   evacuate-host.sh [--yes] [--attempts N] [--report-dir DIR] [-- FLAGS OF 'scatter send'...]
#
#   --yes             do not ask
#   --attempts N      send up to N times while VMs stay that may move later (default 2)
#   --report-dir DIR  keep the plan and the reports there (default /var/log/scatter)
#
# Without flags for scatter, it reads them from /etc/scatter/send.toml, for example:
#
#   discover = "/run/vms/*.qmp"
#   to = ["beta=10.0.0.2:7400", "gamma=10.0.0.3:7400"]
#   interface = "eth1"
#   tls-dir = "/etc/scatter/tls"
#
# Exit status, so that 'evacuate-host.sh --yes && systemctl reboot' is safe:
#
#   0    every VM runs on another host, and no QEMU is left here: maintenance may begin
#   2    wrong usage; nothing was touched
#   3    some VMs still run here, or QEMUs that the flags do not name
#   4    nothing moved: blockers were found first
#   5    a VM is in doubt: do not touch this host or the targets before it is resolved
#   6    the operator said no; nothing was moved
#   130  cancelled; VMs that had not moved yet still run here

set -euo pipefail

readonly scatter=${SCATTER:-scatter}
assume_yes=no
attempts=2
report_dir=/var/log/scatter
send_flags=()
plan=
recover_flags=()

say() { printf 'evacuate-host: %s\n' "$*" >&2; }

end() {
  local -r status=$1
  shift
  say "$@"
  exit "$status"
}

usage() { sed -n '3,/^set -e/{/^#/s/^# \{0,1\}//p}' "$0"; }

read_flags() {
  while (($# > 0)); do
    case $1 in
      --yes) assume_yes=yes ;;
      --attempts)
        [[ ${2-} =~ ^[1-9][0-9]{0,2}$ ]] || end 2 "--attempts wants a number from 1 to 999"
        attempts=$2
        shift
        ;;
      --report-dir)
        [[ -n ${2-} ]] || end 2 "--report-dir wants a directory"
        report_dir=$2
        shift
        ;;
      --help | -h)
        usage
        exit 0
        ;;
      --)
        shift
        send_flags=("$@")
        break
        ;;
      *) end 2 "unknown flag $1; flags of 'scatter send' come after --" ;;
    esac
    shift
  done
  ((${#send_flags[@]} > 0)) || send_flags=(--config /etc/scatter/send.toml)
}

# recover reads the same journal as send writes: it takes over the flags that say where.
find_recover_flags() {
  local previous='' flag
  for flag in "${send_flags[@]}"; do
    case $previous in --run-dir | --tls-dir | --config) recover_flags+=("$previous" "$flag") ;; esac
    case $flag in --run-dir=* | --tls-dir=* | --config=*) recover_flags+=("$flag") ;; esac
    previous=$flag
  done
}

# run calls scatter and leaves its exit status in $status. Signals go to scatter, which ends in good order: Ctrl-C by
# itself, others are passed on. Then waiting goes on, for only the real end tells where the VMs are.
run() {
  local interrupted
  "$scatter" "$@" &
  local -r child=$!
  trap 'interrupted=yes' INT
  trap 'interrupted=yes; kill -TERM "$child" || true' TERM HUP
  while :; do
    interrupted=no
    status=0
    wait "$child" || status=$?
    [[ $interrupted == yes ]] || break
  done
  trap - INT TERM HUP
}

# finish_earlier_run finishes or undoes what an evacuation left that crashed. Status 2 means that there is no run
# directory yet, or a mistake that the plan will name.
finish_earlier_run() {
  run recover "${recover_flags[@]}"
  case $status in
    0 | 2) ;;
    1) end 4 "another evacuation is running on this host" ;;
    130) end 130 "cancelled; nothing was touched" ;;
    *) end 5 "an earlier evacuation left a VM in doubt: do what the table above says first" ;;
  esac
}

show_plan() {
  say "planning; this reads all memory of the VMs"
  plan="$report_dir/evacuation-$(date -u +%Y%m%dT%H%M%SZ)-$$.plan"
  run send --dry-run --save "$plan" "${send_flags[@]}"
  case $status in
    0) ;;
    2) end 2 "scatter does not understand its flags; nothing was touched" ;;
    3) say "the VMs that cannot move, see above, would stay" ;;
    4) end 4 "nothing would move; remove the blockers above and try again" ;;
    130) end 130 "cancelled; nothing was touched" ;;
    *) end 4 "no plan (status $status); nothing was touched" ;;
  esac
}

confirm() {
  [[ $assume_yes == no ]] || return 0
  [[ -t 0 ]] || end 6 "nobody to ask: say --yes to go on without"
  local answer=''
  read -r -p 'Evacuate as planned? [y/N] ' answer || true
  [[ $answer == [yY] || $answer == [yY][eE][sS] ]] || end 6 "not evacuated"
}

# resolve is for a VM in doubt, and for a scatter that ended in a way that it never should.
resolve() {
  say "finding out where each VM is"
  run recover "${recover_flags[@]}"
  ((status == 0)) || end 5 "a VM is still in doubt. Leave this host and the targets as they are, do what the table above says," \
    "run '$scatter recover' here and on the target until it ends with 0, then start again"
  say "every VM runs in one known place, see above"
}

# send executes what was confirmed, and, when some of that has moved, what is left.
send() {
  local -r report="$report_dir/evacuation-$(date -u +%Y%m%dT%H%M%SZ)-$$.json"
  local confirmed=()
  (($1 > 1)) || confirmed=(--plan "$plan")
  run send --report "$report" "${confirmed[@]}" "${send_flags[@]}"
  [[ ! -e $report ]] || say "report: $report"
}

# evacuate sends, and sends again while it makes sense.
evacuate() {
  local attempt
  for ((attempt = 1; attempt <= attempts; attempt++)); do
    say "attempt $attempt of $attempts"
    send "$attempt"
    case $status in
      0) finished "every VM runs on another host" ;;
      2) end 2 "scatter does not understand its flags; nothing was touched" ;;
      3) say "some VMs stayed; they run here as before" ;;
      4) nothing_moved "$attempt" ;;
      130) end 130 "cancelled; VMs that had not moved yet run here as before" ;;
      5) resolve ;;
      6) finished "no VM runs here any more; those that the report calls ended have ended by themselves" ;;
      *)
        say "scatter ended with status $status, which it never should"
        resolve
        ;;
    esac
  done
  end 3 "VMs still run here, the report says why. For one that is too busy to move: --on-stall pause, or a higher --rate"
}

# find_qemus lists the QEMUs of this host, whoever started them. pgrep takes no pattern that is longer than 15 letters.
find_qemus() {
  if [[ -n ${FIND_QEMUS-} ]]; then
    $FIND_QEMUS || true
    return
  fi
  local name
  for name in 'qemu-system-.*' 'qemu-kvm|kvm'; do
    pgrep --list-full --exact "$name" || true # none
  done
}

# finished looks for what the flags did not name before it says that a reboot is safe.
finished() {
  local left
  left=$(find_qemus)
  [[ -z $left ]] || end 3 "$1, but these QEMUs still run here:"$'\n'"$left"
  end 0 "$1: maintenance may begin"
}

# At the first attempt nothing has moved at all. Later it does not prove that nothing is left, so it is no success.
nothing_moved() {
  (($1 > 1)) || end 4 "nothing moved; remove the blockers above and try again"
  end 3 "nothing more can be moved, see above: look yourself whether VMs still run here"
}

main() {
  read_flags "$@"
  find_recover_flags
  command -v "$scatter" >/dev/null || end 2 "$scatter: not found"
  mkdir -p "$report_dir" || end 2 "$report_dir: cannot keep reports there"
  finish_earlier_run
  show_plan
  confirm
  evacuate
}

main "$@"
