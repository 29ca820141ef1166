#!/bin/bash
# A bench on a SLURM allocation: one Ray node per SLURM node, the driver on the first of them.
#
#     sbatch --export=ALL,CONFIG=field_digits,RUN=/scratch/$USER/field examples/cluster/slurm.sh
#
# Two minutes before the time is over SLURM sends SIGTERM; the driver keeps its checkpoints and ends with 143, and the
# job goes back into the queue, to go on with --resume. The environment with rank-search must be active on all nodes.
#SBATCH --job-name=rank-search
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=08:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail
: "${CONFIG:?name an installed config or a YAML file: CONFIG=...}" "${RUN:?name the run folder: RUN=...}"

mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_ip=$(srun --nodes=1 --ntasks=1 -w "${hosts[0]}" hostname --ip-address | cut -d' ' -f1)
port=$((20000 + SLURM_JOB_ID % 20000))
cpus=${SLURM_CPUS_PER_TASK:-1}

srun --overlap --nodes=1 --ntasks=1 -w "${hosts[0]}" \
    ray start --head --node-ip-address="$head_ip" --port="$port" --num-cpus="$cpus" --include-dashboard=false --block &
until ray status --address "$head_ip:$port" > /dev/null 2>&1; do sleep 1; done
for host in "${hosts[@]:1}"; do
    srun --overlap --nodes=1 --ntasks=1 -w "$host" \
        ray start --address="$head_ip:$port" --num-cpus="$cpus" --block &
done

options=(--output "$RUN" --ray-address "$head_ip:$port" --set run.workers=auto)
if [ -e "$RUN/config.yaml" ]; then options+=(--resume); fi
rank-search bench "$CONFIG" "${options[@]}" &
driver=$!
trap 'kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
while kill -0 "$driver" 2> /dev/null; do wait "$driver" || code=$?; done
if [ "$code" -eq 143 ]; then scontrol requeue "$SLURM_JOB_ID"; fi
exit "$code"
