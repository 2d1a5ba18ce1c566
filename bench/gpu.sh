#!/usr/bin/env bash
# What a machine with one CUDA card shows of this project, in a quarter of an hour: that it is right there, how
# fast it is beside transformers on PyTorch on the same card, and where a step's time goes.
#
#     bash bench/gpu.sh                        # all steps; or name some, in this file's order: machine smoke default
#                                              # attention ours-train torch-train kernels ours-lora torch-lora
#                                              # kernels-lora ours-answers torch-answers
#     DEVICE=cpu BENCH=T bash bench/gpu.sh     # the same at toy size on a CPU, to see that it runs
#     bash bench/gpu.sh kit FOLDER             # here: wheels of what a machine with JAX for CUDA may lack
#     KIT=FOLDER bash bench/gpu.sh             # there: with those wheels, off line
#     python bench/gpu_page.py add OUT         # what was measured, kept in bench/gpu.jsonl; docs/gpu.md from it
#
# OUT (./gpu-out) has gpu.log, bench.jsonl, a line a measurement, and the run directories. BUDGET_S (800) is the
# time for all of it; every step has a limit, and none stops the others. The exit status counts those that failed.
# PyTorch's side needs torch, transformers and PEFT and is left out, by name, where they are not.
# Weights are drawn: nothing is downloaded.
set -u
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
[[ $python != */* ]] || python=$(realpath -s "$python")

if [[ ${1:-} == kit ]]; then
    set -e
    folder=$(realpath -m "${2:?usage: bash bench/gpu.sh kit FOLDER}")
    cd "$root"
    version() { awk -v n="$1" '$0 == "name = \"" n "\"" { getline; gsub(/version = |"/, ""); print; exit }' uv.lock; }
    wanted=()
    for name in hydra-core omegaconf pydantic pydantic-core annotated-types typing-inspection grain array-record \
        portpicker cloudpickle transformers tokenizers datasets dill multiprocess tensorboardx; do
        wanted+=("$name==$(version "$name")")
    done
    platforms=()
    for one in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014; do
        platforms+=(--platform "${one}_x86_64")
    done
    "$python" -m pip download -q --no-deps --only-binary=:all: --implementation cp "${platforms[@]}" \
        --python-version "${PYTHON_VERSION:-3.12}" -d "$folder" "${wanted[@]}"
    # Published as a source alone.
    "$python" -m pip wheel -q --no-deps -w "$folder" "antlr4-python3-runtime==$(version antlr4-python3-runtime)"
    "$python" -m pip wheel -q --no-deps -w "$folder" .
    ls "$folder"
    exit
fi

steps="machine smoke default attention ours-train torch-train kernels ours-lora torch-lora kernels-lora \
ours-answers torch-answers"
for word in "$@"; do
    [[ " $steps " == *" $word "* ]] || { echo "no step $word; there are: $steps" >&2; exit 2; }
done
chosen=${*:-$steps}
out=$(realpath -m "${OUT:-gpu-out}")
device=${DEVICE:-gpu} bench=${BENCH:-G} budget=${BUDGET_S:-800} begun=$SECONDS
mkdir -p "$out"
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1
if [[ -n ${KIT:-} ]]; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$out/site" "$KIT"/*.whl || exit 1
    export PYTHONPATH=$out/site
fi
run="$python -m tunix_exp"
part="export XLA_PYTHON_CLIENT_PREALLOCATE=false;"  # for programs that share the card
failed=$out/failed
rm -f "$failed"

step() { # NAME LIMIT_S COMMAND
    local name=$1 limit=$2 left=$((budget - SECONDS + begun)) since=$SECONDS status
    [[ " $chosen " == *" $name "* ]] || return 0
    if ((left < 15)); then
        echo "== $name: no time left" | tee -a "$out/gpu.log" "$failed"
        return 0
    fi
    ((limit < left)) || limit=$left
    (cd "$root" && timeout -k 5 "$limit" bash -o pipefail -c "$3") >"$out/$name.txt" 2>&1
    status=$?
    { echo "== $name: $3"; tail -c 2500 "$out/$name.txt"; } >>"$out/gpu.log"
    echo "== $name: exit $status after $((SECONDS - since)) s" | tee -a "$out/gpu.log"
    ((status == 0)) || echo "$name" >>"$failed"
}
measure() { echo "$python bench/$1 | tee -a $out/bench.jsonl"; }
torch() { # NAME LIMIT_S SCRIPT…
    if "$python" -c "import torch, transformers, peft" 2>/dev/null; then
        step "$1" "$2" "$(measure "$3")"
    elif [[ " $chosen " == *" $1 "* ]]; then
        echo "== $1: left out, as torch, transformers and peft are not all installed" | tee -a "$out/gpu.log"
    fi
}
models="gpt2" kernels="einsum"  # of a CPU, where the others take minutes
[[ $device == cpu ]] || models="gpt2 gemma gemma3" kernels="einsum cudnn"

# Right? Side by side, as nothing is timed.
step machine 60 "{ nvidia-smi || [[ $device == cpu ]]; } && $run doctor" &
step smoke 110 "$part $run model=tiny-gemma mode=smoke device=$device hydra.run.dir=$out/smoke" &
step default 200 "$part $run device=$device hydra.run.dir=$out/default && $run verify $out/default \
    && $run replay $out/default --to $out/default-again" &
step attention 150 "$part for model in $models; do for kernel in $kernels; do \
    $python bench/attention.py \$model \$kernel $device; done; done" &
wait
# Fast? Alone on the card, this project's side and PyTorch's in turn.
step ours-train 150 "$(measure "bench.py ${bench}1 --timed 8")"
torch torch-train 150 "peers/gpu_torch.py ${bench}1 --timed 8"
step kernels 90 "$(measure "kernels.py ${bench}1")"
step ours-lora 120 "$(measure "bench.py ${bench}2 --timed 8")"
torch torch-lora 130 "peers/gpu_torch.py ${bench}2 --timed 8"
step kernels-lora 90 "$(measure "kernels.py ${bench}2")"
step ours-answers 120 "$(measure "bench.py ${bench}3 --timed 3")"
torch torch-answers 120 "peers/gpu_torch.py ${bench}3 --timed 2"
echo "== all: $((SECONDS - begun)) s; results in $out" | tee -a "$out/gpu.log"
[[ ! -s $failed ]] || exit "$(wc -l <"$failed")"
