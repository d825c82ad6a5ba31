"""RecBole's SASRec on MovieLens 100K: the rank of every user's last film. Runs in an environment of its own.

    python -m venv peer && peer/bin/pip install torch==2.13.0 -c constraints.txt && peer/bin/pip install --no-deps recbole==1.2.1
    peer/bin/pip install -c constraints.txt numpy scipy pandas tqdm colorlog colorama scikit-learn pyyaml tensorboard \
        thop tabulate plotly texttable psutil
    peer/bin/python benchmarks/sasrec_peer.py --data FOLDER --seed 0 --out benchmarks/results/sasrec_seed_0.json

FOLDER holds ``ml-100k/ml-100k.inter`` (the asset ``movielens-100k``). Everything is RecBole's default (two layers of 64,
softmax over all films, early stopping on MRR@10 after ten epochs without gain, full ranking, seen films not excluded), but
that anomaly detection, which importing one of its models switches on for the process, is off: that is the fair clock.
``ray`` is stubbed and NumPy's old names are restored, since RecBole 1.2.1 asks for both.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
import types
from pathlib import Path
from typing import Any


class Enough(Exception):
    """The time is over."""


def restore() -> None:
    """What RecBole 1.2.1 expects of libraries of its time."""
    import numpy as np
    import torch

    sys.modules["ray"] = types.ModuleType("ray")
    sys.modules["ray"].tune = types.ModuleType("ray.tune")  # type: ignore[attr-defined]
    sys.modules["ray.tune"] = sys.modules["ray"].tune
    for name, kind in {"bool": bool, "int": int, "float": float, "object": object, "str": str, "long": int}.items():
        if name not in np.__dict__:
            setattr(np, name, kind)
    for name, kind in {"float_": np.float64, "complex_": np.complex128, "unicode_": np.str_}.items():
        if name not in np.__dict__:
            setattr(np, name, kind)
    load = torch.load
    torch.load = lambda *given, **named: load(*given, **{**named, "weights_only": False})  # its own checkpoint


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-minutes", type=float, default=1e9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    restore()
    import torch
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.model.sequential_recommender import SASRec
    from recbole.utils import get_trainer, init_seed

    torch.autograd.set_detect_anomaly(False)
    torch.set_num_threads(args.threads)
    settings = {
        "data_path": args.data,
        "seed": args.seed,
        "use_gpu": False,
        "train_neg_sample_args": None,
        "checkpoint_dir": str(args.out.with_suffix("")),
        "show_progress": False,
        "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]},
    }
    sys.argv = sys.argv[:1]  # RecBole reads the command line too
    config = Config(model="SASRec", dataset="ml-100k", config_dict=settings)
    init_seed(args.seed, True)
    dataset = create_dataset(config)
    train, validation, test = data_preparation(config, dataset)
    model = SASRec(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    began, epochs = time.monotonic(), []

    def after_epoch(epoch: int, score: float) -> None:
        epochs.append({"epoch": epoch, "validation_mrr10": score, "seconds": time.monotonic() - began})
        print(json.dumps(epochs[-1]), flush=True)
        if time.monotonic() - began > 60 * args.max_minutes:
            raise Enough

    stop = "patience"
    try:
        trainer.fit(train, validation, saved=True, show_progress=False, callback_fn=after_epoch)
    except Enough:
        stop = "time"
    seconds = time.monotonic() - began
    model.load_state_dict(torch.load(trainer.saved_model_file)["state_dict"])
    model.eval()
    ranks = rank_targets(model, test, dataset)
    split = hashlib.sha256(json.dumps({u: r["item"] for u, r in sorted(ranks.items())}).encode()).hexdigest()
    best = max(epochs, key=lambda one: one["validation_mrr10"])
    found = {"seed": args.seed, "stop": stop, "seconds": seconds, "threads": args.threads, "best": best}
    args.out.write_text(
        json.dumps({**found, "split": split, "epochs": epochs, "ranks": ranks}) + "\n", encoding="utf-8"
    )


def rank_targets(model: Any, test: Any, dataset: Any) -> dict[str, dict[str, Any]]:
    """User: held-out item, its rank (from 1) among all items, and among those not in the user's history."""
    import torch

    users, items = dataset.field2id_token["user_id"], dataset.field2id_token["item_id"]
    seen: dict[int, set[int]] = {}
    for user, item in zip(dataset.inter_feat["user_id"].tolist(), dataset.inter_feat["item_id"].tolist()):
        seen.setdefault(user, set()).add(item)
    found = {}
    for batch in test:
        interaction, _, _, positive = batch
        with torch.no_grad():
            scores = model.full_sort_predict(interaction).view(len(interaction), -1)
        scores[:, 0] = -torch.inf
        for row, (user, item) in enumerate(zip(interaction["user_id"].tolist(), positive.tolist())):
            line = scores[row]
            rank = int((line > line[item]).sum()) + 1
            line[list(seen[user] - {item})] = -torch.inf
            unseen = int((line > line[item]).sum()) + 1
            found[str(users[user])] = {"item": str(items[item]), "rank": rank, "unseen_rank": unseen}
    return found


if __name__ == "__main__":
    main()
