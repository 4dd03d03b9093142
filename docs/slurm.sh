#!/bin/bash
#SBATCH --job-name=pyro-vaes
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --time=12:00:00
# The arguments are those of `pyro-vaes train`, for example: sbatch docs/slurm.sh vae --data mnist --out runs/vae
# Submit it again with --resume after the time limit: the signal that ends the job writes a checkpoint first.
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun torchrun --nnodes "$SLURM_NNODES" --nproc-per-node gpu \
    --rdzv-id "$SLURM_JOB_ID" --rdzv-backend c10d --rdzv-endpoint "$head:29500" \
    -m pyro_vaes train "$@"
