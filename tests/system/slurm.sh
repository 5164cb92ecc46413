#!/usr/bin/env bash
# A Slurm of this machine alone, on loopback, for as long as a command takes; for trying --cluster:
#
#   sudo tests/system/slurm.sh FOLDER ./run_all.sh --cluster notebooks/slurm --profile smoke
#
# FOLDER is made for its state and logs, and must not be there. Jobs are logged when they end, with
# what they asked for, in FOLDER/jobs (jobcomp/filetxt): sacct needs a database, which this does
# without. Needs root, and of Debian's packages munge, slurmctld, slurmd and slurm-client.
set -euo pipefail

[[ $# -gt 1 ]] || { echo "usage: tests/system/slurm.sh FOLDER COMMAND [WORD]..." >&2 && exit 2; }
[[ $(id -u) == 0 ]] || { echo "slurm.sh: needs root" >&2 && exit 2; }
for program in munged slurmctld slurmd scontrol; do
  command -v "$program" >/dev/null || { echo "slurm.sh: $program is not installed" >&2 && exit 2; }
done
if [[ ${1%/} != /* || $1 != "${SLURM_SH_FOLDER:-}" ]]; then # srun looks for /etc/slurm alone
  mkdir "$1"
  mkdir "$1/etc" "$1/state" "$1/spool"
  mkdir -p /etc/slurm
  SLURM_SH_FOLDER=$(realpath "$1")
  export SLURM_SH_FOLDER
  exec unshare --mount "$0" "$SLURM_SH_FOLDER" "${@:2}" # our own view of it, that ends with us
fi
folder=$1
shift
mount --bind "$folder/etc" /etc/slurm
started=()

stop() { # every job first, then the services, the last one first
  scancel --quiet --user root 2>/dev/null || true
  for _ in {1..50}; do
    [[ -n $(squeue --noheader --states RUNNING,COMPLETING 2>/dev/null) ]] || break
    sleep 0.2
  done
  for ((place = ${#started[@]} - 1; place >= 0; place--)); do
    kill "${started[place]}" 2>/dev/null || true
    wait "${started[place]}" 2>/dev/null || true
  done
}
trap stop EXIT

port() { # one that is free
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

head -c 1024 /dev/urandom >"$folder/munge.key"
chmod 600 "$folder/munge.key"
munged --foreground --force --key-file "$folder/munge.key" --socket "$folder/munge.socket" \
  --pid-file "$folder/munge.pid" --log-file "$folder/munge.log" --seed-file "$folder/munge.seed" \
  >"$folder/munge.out" 2>&1 &
started+=($!)

host=$(hostname -s)
cat >"$folder/etc/slurm.conf" <<END
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$(port)
SlurmdPort=$(port)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CryptoType=crypto/munge
AuthInfo=socket=$folder/munge.socket
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobCompType=jobcomp/filetxt
JobCompLoc=$folder/jobs
NodeName=$host NodeAddr=127.0.0.1 $(slurmd -C | grep -o 'CPUs=[^ ]*') $(slurmd -C | grep -o 'RealMemory=[^ ]*')
PartitionName=local Nodes=$host Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$folder/etc/slurm.conf
touch "$folder/jobs"
for _ in {1..100}; do [[ -S $folder/munge.socket ]] && break || sleep 0.1; done
slurmctld -D -f "$SLURM_CONF" >"$folder/slurmctld.out" 2>&1 &
started+=($!)
slurmd -D -f "$SLURM_CONF" >"$folder/slurmd.out" 2>&1 &
started+=($!)
for _ in {1..150}; do
  [[ $(sinfo --noheader --format %t 2>/dev/null) == idle ]] && break || sleep 0.2
done
if [[ $(sinfo --noheader --format %t 2>/dev/null) != idle ]]; then
  echo "slurm.sh: Slurm did not start; its logs are in $folder" >&2
  exit 1
fi
"$@" &
command=$!
trap 'kill "$command" 2>/dev/null' TERM INT HUP
code=0
while kill -0 "$command" 2>/dev/null; do code=0 && wait "$command" || code=$?; done
exit "$code"
