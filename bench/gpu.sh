#!/usr/bin/env bash
# Gemma 2B on one GPU: full fine-tune and LoRA at 4 × 2048 tokens in bfloat16 compute, and generation, against
# transformers on PyTorch (SDPA, compiled) and Tunix on the same card in the same run; docs/gpu.md from it.
#
#     bash bench/gpu.sh FOLDER            # of the peers' environments, made where they are missing
#     bash bench/gpu.sh FOLDER --toy      # the same at toy size on a CPU, by environments that are there
#
# It has not been run on a GPU yet, only with --toy. The peaks it counts with (989 TFLOP/s, 4.8 TB/s) are those of
# an H200; at 2.5 billion parameters it takes some 60 GB of the card. Weights are drawn, nothing is downloaded but
# packages. MFU is the share of 989 TFLOP/s in the column of GFLOP/s.
set -euo pipefail
cd "$(dirname "$0")/.."
venvs=${1:?usage: bash bench/gpu.sh FOLDER [--toy]}
rounds=${ROUNDS:-5}

if [[ ${2:-} == --toy ]]; then
    out=$(mktemp -d)
    uv run python bench/compare.py --venvs "$venvs" --workloads T1,T2,T3 --rounds 1 --timed 1 \
        --peers-per-workload 9 --quiet-cores 99 --out "$out/toy.jsonl"
    exit
fi

environment() { # FOLDER PACKAGE...
    [[ -x $venvs/$1/bin/python ]] && return
    uv venv --python 3.12 "$venvs/$1"
    uv pip install --python "$venvs/$1/bin/python" "${@:2}"
}
environment hf5 torch==2.13.0 transformers==5.23.0 peft==0.21.2 numpy
environment tunix google-tunix==0.1.7 qwix==0.1.8 "jax[cuda13]==0.10.2"
uv sync --extra cuda

nvidia-smi
uv run --extra cuda python bench/compare.py --venvs "$venvs" --workloads G1,G2,G3 --rounds "$rounds" \
    --peers-per-workload 9 --quiet-cores 2 --out bench/gpu.jsonl
uv run --extra cuda python bench/compare.py --page --out bench/gpu.jsonl --doc docs/gpu.md
