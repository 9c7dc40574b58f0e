#!/bin/bash
# A SLURM of two nodes on one machine, for tests: n1 and n2, with 8 CPUs and 4 pretend GPUs each. Root, Debian.
#   tests/slurm/cluster.sh FOLDER &        then: export SLURM_CONF=FOLDER/slurm.conf; sinfo
# It stays in the foreground. Killed (kill -KILL), it takes its daemons and all their jobs with it, since they live in
# a process namespace of its own. It writes to FOLDER only, Debian's packages apart.
set -euo pipefail
state=$1
export PATH=$PATH:/usr/sbin:/sbin SLURM_CONF=$state/slurm.conf

if [ "${2:-}" != inside ]; then
    if ! command -v slurmctld slurmd sbatch munged >/dev/null; then
        # Without this file the packages would start daemons of their own.
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            ours=$policy
            trap 'rm -f "$ours"' EXIT
            printf '#!/bin/sh\nexit 101\n' >"$policy"
            chmod 755 "$policy"
        fi
        export DEBIAN_FRONTEND=noninteractive
        packages="slurmctld slurmd slurm-client munge"
        # shellcheck disable=SC2086
        apt-get install -qq -y --no-install-recommends $packages ||
            { apt-get update -qq && apt-get install -qq -y --no-install-recommends $packages; }
        rm -f "${ours:-}"
    fi
    exec unshare --mount-proc --pid --fork --kill-child "$0" "$state" inside
fi

mkdir -p "$state"/{ctld,n1,n2}
chmod 755 "$state"
(umask 077 && head -c 256 /dev/urandom >"$state/munge.key")
printf '127.0.0.1 localhost controller\n127.0.0.31 n1\n127.0.0.32 n2\n' >"$state/hosts"
for i in 0 1 2 3; do mknod "$state/gpu$i" c 1 3; done  # /dev/null by another name: SLURM wants character devices
echo "Name=gpu Type=fake Flags=nvidia_gpu_env File=$state/gpu[0-3]" >"$state/gres.conf"
cat >"$SLURM_CONF" <<END
ClusterName=genraven
SlurmctldHost=localhost(127.0.0.1)
# Ports that neither Lightning (15000-24999) nor the system hands out.
SlurmctldPort=9917
SlurmUser=root
AuthType=auth/munge
# A requeued job may start again after cred_expire, which is 120 s otherwise.
AuthInfo=socket=$state/munge.socket,cred_expire=5
StateSaveLocation=$state/ctld
SlurmctldPidFile=$state/ctld.pid
SlurmctldLogFile=$state/ctld.log
SlurmdSpoolDir=$state/%n
SlurmdPidFile=$state/%n.pid
SlurmdLogFile=$state/%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
MailProg=/bin/true
# Quicker than the defaults.
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1,sched_min_interval=100000
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
GresTypes=gpu
NodeName=n1 NodeAddr=127.0.0.31 Port=9921 CPUs=8 RealMemory=16000 Gres=gpu:fake:4
NodeName=n2 NodeAddr=127.0.0.32 Port=9922 CPUs=8 RealMemory=16000 Gres=gpu:fake:4
# Jobs of the lower two give way to those of the first: after ten seconds, or at once.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=test Nodes=n1,n2 Default=YES MaxTime=1-00:00:00 PriorityTier=2
PartitionName=grace Nodes=n1,n2 GraceTime=10
PartitionName=nograce Nodes=n1,n2 GraceTime=0
END

mount --bind "$state/hosts" /etc/hosts  # seen by what runs in here only
munged --key-file="$state/munge.key" --socket="$state/munge.socket" --pid-file="$state/munge.pid" \
    --log-file="$state/munge.log" --seed-file="$state/munge.seed"
slurmctld -c
for node in n1 n2; do
    unshare --uts sh -c "hostname $node && exec slurmd -N $node"
done
exec sleep infinity
