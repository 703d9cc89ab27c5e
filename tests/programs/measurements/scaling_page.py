"""`docs/scaling.md` from the record of `tests/programs/measurements/scaling.py`: every figure comes from there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.programs.measurements.scaling_model import (
    LLAMAS,
    LOADING_GB_PER_S,
    MAX_ROWS,
    N_MODES,
    N_PROMPTS,
    N_ROLES,
    N_TOKENS,
    OVERHEAD_MS_PER_LAYER_STEP,
)

ROOT = Path(__file__).parents[3]
RECORD = ROOT / "docs" / "measurements" / "scaling.json"
PAGE = ROOT / "docs" / "scaling.md"

GUIDE = """# More than one machine

The unit of work is one entry of the store: one prompt's baseline with some hundred patches, a capture, or the
table of promoted tokens. Entries do not depend on each other, so they can be computed anywhere:

| | |
| --- | --- |
| `--backend threads` | in this process, a batch on each processor (the default) |
| `--backend serial` | in this process, one batch after the other |
| `--backend loky --jobs N` | in N processes of this machine |
| `--backend dask --scheduler ADDRESS` | on a running Dask cluster (`pip install 'phase7[dask]'`) |

Workers write their entries into the store; the main process reads them from there, so no tensor travels. Results equal
the serial run's bit for bit (`tests/run/test_workers.py`), also when a worker is killed: its entry is
computed by another.

## What the workers need

- **The same store.** A folder that every worker sees under the same absolute path (NFS, Lustre, a ReadWriteMany
  volume). Locks need `flock` across machines; without it an entry may be computed twice, never wrongly.
- **The same models folder**: set `PHASE7_MODELS` (else SmolLM2 lies in the user's own cache) and `HF_HOME` to one that
  all see; fetch once before (`python -m phase7 models fetch`).
- **The same versions** of phase7 and its libraries: install with `-c constraints.txt` everywhere. Workers that
  differ are refused.
- **One processor each.** A unit is computed by one thread of torch everywhere, since the last bits of the first-token
  KL can depend on their number: start as many workers as there are processors.
- **One number of rows.** `max_rows = 0` follows the main machine's free memory and is part of an entry's
  identity: set it in the profile, so that a run that continues elsewhere finds its entries.
- **The same kind of processor**, if the bits are to be those of a serial run. See [reliability](reliability.md).

If every worker of a cluster goes away, the run waits for new ones; stop it with Ctrl-C, nothing is lost.

## Slurm

One scheduler, and as many workers as the cluster gives; each worker has one process.

```sh
#!/bin/bash
#SBATCH --job-name=phase7 --ntasks=128 --cpus-per-task=1 --mem-per-cpu=4G --time=08:00:00
dask scheduler --scheduler-file scheduler.json --host "$(hostname)" --port 8786 &
srun --ntasks=127 dask worker --scheduler-file scheduler.json --nworkers 1 --nthreads 1 &
python -m phase7 build baseline --backend dask --scheduler "tcp://$(hostname):8786"
scancel "$SLURM_JOB_ID"
```

## Kubernetes

With the Dask operator, an image that holds phase7, and a ReadWriteMany claim mounted at the same path everywhere:

```yaml
apiVersion: kubernetes.dask.org/v1
kind: DaskCluster
metadata: {name: phase7}
spec:
  worker:
    replicas: 128
    spec:
      containers:
        - name: worker
          image: registry.example/phase7:0.1.0
          args: [dask, worker, --nworkers, "1", --nthreads, "1", --name, $(DASK_WORKER_NAME)]
          resources: {requests: {cpu: "1", memory: 4Gi}}
          volumeMounts: [{name: shared, mountPath: /shared}]
      volumes: [{name: shared, persistentVolumeClaim: {claimName: phase7}}]
  scheduler:
    spec:
      containers:
        - name: scheduler
          image: registry.example/phase7:0.1.0
          args: [dask, scheduler]
          ports: [{name: tcp-comm, containerPort: 8786}]
    service:
      selector: {dask.org/cluster-name: phase7, dask.org/component: scheduler}
      ports: [{name: tcp-comm, port: 8786, targetPort: tcp-comm}]
```

Then, in a pod with the claim mounted, `/shared` as the working folder:
`python -m phase7 build baseline --backend dask --scheduler tcp://phase7-scheduler:8786`. Neither recipe was run on a
real cluster here: what the tests run is a real Dask scheduler with two worker processes on one machine."""


def render(record: dict[str, Any]) -> str:
    """The page in Markdown."""
    return "\n\n".join([GUIDE, _measured(record), _simulated(record)]) + "\n"


def _measured(record: dict[str, Any]) -> str:
    machine, fit, two = record["machine"], record["fit"], record["two_workers"]
    rows = "\n".join(
        f"| {p['width']} | {p['heads']} | {p['gflop']:.0f} | {p['seconds']:.2f} |"
        for p in record["sweeps"]
    )
    shares = " ".join(f"{share:.2f}" for share in record["sharing"]["share_by_depth"])
    error = two["measured_s"] / two["predicted_s"] - 1
    return f"""## What was measured

`python -m tests.programs.measurements.scaling` measures on this machine and simulates; it wrote
`docs/measurements/scaling.json`, from which every figure below comes. Machine: {machine["processor"]}, \
{machine["n_cpus"]} processors, {record["threads"]} threads, torch {record["packages"]["torch"]}.

Sweeps of GPT-2's shape in several widths (12 layers, random weights, {record["sweeps"][0]["layer_steps"] // 12} tokens, one \
prompt, one thread, float32 logits for all rows), with the FLOP of the rows that each layer really computed:

| width | heads | GFLOP | seconds |
| ---: | ---: | ---: | ---: |
{rows}

They fit seconds = FLOP / ({fit["gflop_per_s"]:.0f} GFLOP/s) + {fit["overhead_ms_per_layer_step"]:.2f} ms for each layer \
and step + {fit["ms_per_row_step"]:.2f} ms for each row and step (sampling, and whatever else is \
no product); the largest error is {100 * fit["largest_relative_error"]:.0f} %.

Share of the rows that SmolLM2's layers computed in a sweep of all heads, by tenths of its depth: {shares}.

Two worker processes of one thread each, {two["batches"]} batches: predicted {two["predicted_s"]:.1f} s from serial runs \
({two["start_s"]:.1f} s to start, {two["per_batch_s"]:.2f} s a batch), measured {two["measured_s"]:.1f} s \
({100 * error:+.0f} %); serial {two["serial_s"]:.1f} s. The prediction leaves out the start of \
worker processes and what two processes take from each other's memory bandwidth."""


def _hours(hours: float) -> str:
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.0f} min"


def _simulated(record: dict[str, Any]) -> str:
    workers = list(record["clusters"][0]["hours"])
    head = " | ".join(f"{n} worker{'s' * (n != '1')}" for n in workers)
    rows = "\n".join(
        f"| {c['model']} | {c['device']['name']} | {c['cells']:,} | {c['batches']:,} | {c['batch_s']:.1f} |"
        f" {' | '.join(_hours(c['hours'][n]) for n in workers)} |"
        for c in record["clusters"]
    )
    devices = "; ".join(
        f"{c['model']}: {c['device']['name']} of memory, {c['device']['tflop_per_s']:.0f} TFLOP/s reached,"
        f" {c['device']['tb_per_s']:.1f} TB/s read"
        for c in record["clusters"]
    )
    logits_gb = MAX_ROWS * 4 * max(shape["vocab"] for shape in LLAMAS.values()) / 1e9
    return f"""## What a sweep of Llama-3 would take

A simulation, not a measurement: nothing here was run on such devices. A sweep is all heads × {N_MODES} modes × \
{N_PROMPTS} prompts
× {N_ROLES} donors, {N_TOKENS} tokens, in batches of {MAX_ROWS} rows, for one emotion:

| model | one device | cells | batches | seconds a batch | {head} |
| --- | --- | ---: | ---: | ---: | {" | ".join("---:" for _ in workers)} |
{rows}

Assumptions:

- Shapes are those of the published configurations; layers below a patch are shared as measured on SmolLM2 above.
- A step takes the longer of its FLOP and of reading the weights once in bfloat16, plus \
{OVERHEAD_MS_PER_LAYER_STEP} ms for each layer. Sampling is left out: \
{MAX_ROWS} rows' float32 logits are {logits_gb:.2f} GB, some passes over which take such a device less than a millisecond.
- Devices, assumed ({devices}). The rates are about a third of published peaks.
- A worker loads the model at {LOADING_GB_PER_S:.0f} GB/s, then takes batch after batch (list scheduling).
- phase7 holds a whole model on one device and does not split it. Llama-3-70B in bfloat16 therefore needs a device \
of more than 141 GB; on smaller ones it does not run.
- Batches of one prompt wait for nobody, so the hours fall with the number of workers until loading and the last batch \
dominate."""
