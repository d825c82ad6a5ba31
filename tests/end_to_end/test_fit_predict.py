"""One tiny run of each task, from the command line to answers in another process."""

from __future__ import annotations

import csv
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from filelock import FileLock

import sensorium
from sensorium.data.collate import Sequence, collate
from sensorium.evaluation.schema import validated
from sensorium.recipe import Recipe
from tests.end_to_end.commands import call, done, new_process, sets, tiny
from tests.end_to_end.conftest import Trained

LOAD = """
import json, sys
import sensorium
jobs = json.load(open(sys.argv[1]))
print(json.dumps([sensorium.load(run).predict(rows, root=root) for run, rows, root in jobs]))
"""


def rows_of(data: Path) -> list[dict[str, Any]]:
    """A table's rows as plain dicts, numbers as numbers, empty cells left out."""
    if data.suffix == ".jsonl":
        return [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
    with open(data, encoding="utf-8") as file:
        rows = [{name: cell for name, cell in row.items() if cell} for row in csv.DictReader(file)]
    return [row | {"size": float(row["size"])} for row in rows]


def answers_in(run: Path) -> pa.Table:
    return pq.read_table(run / "predictions.parquet")


# -- the folder ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["classifier", "answerer"])
def test_the_folder_holds_all_that_the_design_names(request: pytest.FixtureRequest, name: str) -> None:
    trained: Trained = request.getfixturevalue(name)
    run = trained.folder
    whole = ["recipe.yaml", "environment.json", "data_report.json", "quarantine.jsonl", "metrics.json"]
    whole += ["predictions.parquet", "report.html", "history.json", "logs/run.log"]
    whole += [f"model/{file}" for file in ("config.json", "model.safetensors", "processor_config.json", "README.md")]
    whole += ["model/tokenizer.json", "model/backbone/config.json", "model/backbone/model.safetensors"]
    whole += ["model/adapter/adapter_model.safetensors", "model/encoders/image/model.safetensors"]
    for file in whole:
        assert (run / file).is_file(), file
    assert (run / "checkpoints").is_dir()
    assert not [p for p in run.rglob(".*") if p.name != ".lock"], "something was left half done"

    metrics = validated(json.loads((run / "metrics.json").read_text()))
    assert metrics["before"] and metrics["after"] and metrics["difference"] and "majority" in metrics["baselines"]
    assert metrics["rows"] == answers_in(run).num_rows
    report = json.loads((run / "data_report.json").read_text())
    assert sum(report["splits"].values()) == report["rows"] == len(rows_of(trained.data))
    environment = json.loads((run / "environment.json").read_text())
    assert environment["packages"]["torch"] and environment["seeds"] == {"training": 0, "split": 0}
    assert len(environment["data_fingerprint"]) == 64

    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe["data"]["inputs"] and recipe["data"]["target"] and recipe["task"] in ("classify", "generate")
    assert Recipe.parse(recipe).model_dump(mode="json") == recipe, "a default is not written out"

    touched = [line for line in (run / "logs/run.log").read_text().splitlines() if "test split read" in line]
    assert [("before" in line, "after" in line) for line in touched] == [(True, False), (False, True)]


def test_curves_are_kept(classifier: Trained) -> None:
    assert list((classifier.folder / "logs").glob("events.out.tfevents*"))
    history = json.loads((classifier.folder / "history.json").read_text())
    assert history["steps"] == 12 and len(history["validations"]) == 2 and history["stop"] == "finished"


def test_the_report_stands_alone_and_shows_media(classifier: Trained) -> None:
    page = (classifier.folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"""(?:src|href)=["'](?:https?:)?//""", page)
    assert "data:image/" in page and "data:audio/" in page and "<audio" in page


def test_fit_shows_what_it_inferred_and_the_table(classifier: Trained) -> None:
    for said in ("picture: input image", "sound: input audio", "words: input text", "size: input number",
                 "shop: input category", "y: target category", "task: classify", "42 train, 6 validation, 12 test"):  # fmt: skip
        assert said in classifier.said.err, classifier.said.err
    assert re.search(r"trains [\d,]+ of [\d,]+ parameters", classifier.said.err)
    assert re.search(r"needs about .* GiB .* steps .* minutes", classifier.said.err)
    out = classifier.said.out
    assert "accuracy" in out and "before" in out and "after" in out and "majority" in out
    assert out.splitlines()[-1] == f"report: {classifier.folder}/report.html"


def test_the_written_recipe_reproduces_the_run(answerer: Trained, parts: dict[str, Path], tmp_path: Path) -> None:
    # the fixture's own copies of the parts are gone; the same weights stand elsewhere
    named = sets({"model.backbone": parts["llama"], "model.image": parts["vit"]})
    done("fit", answerer.folder / "recipe.yaml", "--output", tmp_path / "again", *named)
    for file in ("model.safetensors", "adapter/adapter_model.safetensors"):
        assert (tmp_path / "again/model" / file).read_bytes() == (answerer.folder / "model" / file).read_bytes(), file
    assert answers_in(tmp_path / "again").column("after").equals(answers_in(answerer.folder).column("after"))


# -- answers ---------------------------------------------------------------------------------------


def test_copied_runs_answer_alike_in_a_new_process_with_an_empty_cache(
    classifier: Trained, answerer: Trained, tmp_path: Path
) -> None:
    jobs, expected = [], []
    for trained in (classifier, answerer):
        copy = tmp_path / trained.folder.name
        shutil.copytree(trained.folder, copy)
        table, rows = answers_in(trained.folder), rows_of(trained.data)
        jobs.append([str(copy), [rows[row] for row in table.column("row").to_pylist()], str(trained.data.parent)])
        expected.append(table.column("after").to_pylist())
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    (tmp_path / "load.py").write_text(LOAD)
    said = new_process([sys.executable, str(tmp_path / "load.py"), str(tmp_path / "jobs.json")], tmp_path / "empty")
    assert said.code == 0, said.err
    assert json.loads(said.out) == expected
    assert not (tmp_path / "empty").exists(), "predicting needs no cache"


def test_predict_takes_dicts_frames_and_arrow(classifier: Trained) -> None:
    model = sensorium.load(classifier.folder)
    rows, root = rows_of(classifier.data)[:9], classifier.data.parent
    answers = model.predict(rows, root=root)
    assert len(answers) == 9 and set(answers) <= {"red", "green", "blue"}
    assert model.predict(pd.DataFrame(rows), root=root) == answers
    assert model.predict(pa.Table.from_pylist(rows), root=root) == answers
    with_bytes = [row | {"picture": (root / row["picture"]).read_bytes()} for row in rows]
    assert model.predict(with_bytes, root=root) == answers
    assert model.predict(rows[:1], root=root) == answers[:1], "an answer does not depend on the rows beside it"


def test_a_row_may_lack_anything(classifier: Trained) -> None:
    model = sensorium.load(classifier.folder)
    full = rows_of(classifier.data)[0]
    for name in ("picture", "sound", "words", "size", "shop"):
        assert model.predict([{key: cell for key, cell in full.items() if key != name}], root=classifier.data.parent)
    assert model.predict([{"words": "red"}]) and model.predict([{"size": None, "picture": None}])


def test_pictures_only_under_the_root(classifier: Trained, tmp_path: Path) -> None:
    model = sensorium.load(classifier.folder)
    with pytest.raises(sensorium.SensoriumError, match="not under the data's folder"):
        model.predict([{"picture": str(classifier.data.parent / "media/0.png")}], root=tmp_path)


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize("name", ["classifier", "answerer"])
def test_predict_writes_a_file(request: pytest.FixtureRequest, name: str, suffix: str, tmp_path: Path) -> None:
    trained: Trained = request.getfixturevalue(name)
    out = tmp_path / f"answers{suffix}"
    said = done("predict", trained.folder, "--data", trained.data, "--out", out)
    count = len(rows_of(trained.data))
    assert said.out.splitlines()[-1] == f"{count} rows answered in {out}"
    frame = {".csv": pd.read_csv, ".parquet": pd.read_parquet, ".jsonl": lambda p: pd.read_json(p, lines=True)}[suffix](
        out
    )
    assert list(frame.columns) == ["row", "place", "prediction", "probability", "problem"]
    assert list(frame["row"]) == list(range(count)) and frame["problem"].isna().all()
    expected = answers_in(trained.folder).to_pandas().set_index("row")["after"]
    told = frame.set_index("row")["prediction"].fillna("").astype(str)
    assert told[expected.index].tolist() == expected.tolist()


def test_predict_needs_no_target_and_names_bad_rows(classifier: Trained, tmp_path: Path) -> None:
    rows = rows_of(classifier.data)[:3]
    shutil.copytree(classifier.data.parent / "media", tmp_path / "media")
    (tmp_path / "media/1.png").write_bytes(b"no picture")
    with open(tmp_path / "new.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["picture", "sound", "words", "size", "shop"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    said = done("predict", classifier.folder, "--data", tmp_path / "new.csv", "--out", tmp_path / "o.jsonl")
    assert "2 rows answered" in said.out
    lines = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert [line["prediction"] is None for line in lines] == [False, True, False]
    assert "no picture in a format that can be read" in lines[1]["problem"] and lines[0]["problem"] is None
    assert 0 < lines[0]["probability"] <= 1


# -- evaluate --------------------------------------------------------------------------------------


def test_evaluate_says_what_the_run_measured(classifier: Trained) -> None:
    metrics = json.loads((classifier.folder / "metrics.json").read_text())
    said = done("evaluate", classifier.folder, "--json")
    assert json.loads(said.out) == metrics and said.out.count("\n") == 1
    value = f"{100 * metrics['after']['accuracy']['value']:.1f}"
    assert value in done("evaluate", classifier.folder).out


@pytest.mark.parametrize("name", ["classifier", "answerer"])
def test_evaluate_on_other_data(request: pytest.FixtureRequest, name: str) -> None:
    trained: Trained = request.getfixturevalue(name)
    metrics = validated(json.loads(done("evaluate", trained.folder, "--data", trained.data, "--json").out))
    assert metrics["rows"] == len(rows_of(trained.data)) and metrics["split"] == trained.data.name
    assert "before" not in metrics or metrics["before"] is None
    primary = metrics["after"][metrics["primary"]]
    assert 0 <= primary["low"] <= primary["value"] <= primary["high"] <= 1


# -- plain PEFT ------------------------------------------------------------------------------------


def test_the_adapter_opens_with_plain_peft(answerer: Trained) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = sensorium.load(answerer.folder)
    ids = model.processor.tokenizer("which colour is this circle?")["input_ids"]
    tokens = torch.tensor([ids])
    place = list(range(len(ids)))
    text = Sequence(ids, place, [0] * len(ids), [-1], [], [0])
    with torch.inference_mode():
        ours = model.model.logits(model.model.hidden_states(collate([text])))
        bare = AutoModelForCausalLM.from_pretrained(answerer.folder / "model/backbone")
        without = bare(input_ids=tokens).logits
        theirs = PeftModel.from_pretrained(bare, answerer.folder / "model/adapter").eval()(input_ids=tokens).logits
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert (without - theirs).abs().max() > 1e-3, "the adapter changes nothing"


# -- the same command again ------------------------------------------------------------------------


def stamps(folder: Path) -> dict[str, int]:
    return {
        str(p.relative_to(folder)): p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file() and p.name != ".lock"
    }


def test_a_finished_run_prints_its_report_and_changes_nothing(classifier: Trained) -> None:
    before = stamps(classifier.folder)
    said = done(*classifier.words)
    assert said.out.splitlines() == ["finished before; --fresh starts anew", f"report: {classifier.folder}/report.html"]
    found = json.loads(done(*classifier.words, "--json").out)
    assert found["finished_before"] is True and found["report"] == f"{classifier.folder}/report.html"
    assert found["metrics"] == json.loads((classifier.folder / "metrics.json").read_text())
    assert stamps(classifier.folder) == before


def test_the_recipe_that_a_run_wrote_out_is_the_same_recipe(classifier: Trained) -> None:
    said = done("fit", classifier.folder / "recipe.yaml", "--output", classifier.folder)
    assert said.out.splitlines()[0] == "finished before; --fresh starts anew"


def test_another_recipe_shows_the_difference(classifier: Trained) -> None:
    said = call(*classifier.words, "--set", "training.learning_rate=0.02", "--set", "model.fusion=concat")
    assert said.code == 2
    assert "belongs to another recipe" in said.line
    assert "training.learning_rate: 0.01 → 0.02" in said.line and "'tokens' → 'concat'" in said.line
    assert said.line.endswith("add --fresh or give another --output")


def test_a_locked_run_is_left_alone(classifier: Trained) -> None:
    with FileLock(classifier.folder / ".lock"):
        said = call(*classifier.words)
    assert said.code == 2 and "another process is using this run" in said.line


@pytest.fixture
def little(tmp_path: Path, parts: dict[str, Path]) -> list[str]:
    """A job of a few words a row, in a folder of its own: quick enough to run several times."""
    lines = ["words,label"] + [
        f"{'a warm' if i % 2 else 'the cold'} thing {i},{'yes' if i % 2 else 'no'}" for i in range(30)
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    settings = sets(tiny(parts, training__max_steps=2))
    return ["fit", "--data", str(tmp_path / "t.csv"), "--target", "label", "--output", str(tmp_path / "run"), *settings]


def test_changed_data_are_refused_and_fresh_moves_the_old_run_aside(little: list[str], tmp_path: Path) -> None:
    said = done(*little, "--json")
    found = json.loads(said.out)
    assert said.out.count("\n") == 1 and found["run"] == str(tmp_path / "run") and not found["finished_before"]
    validated(found["metrics"])
    kept = stamps(tmp_path / "run")
    with open(tmp_path / "t.csv", "a", encoding="utf-8") as file:
        file.write("one more warm thing,yes\n")
    said = call(*little)
    assert said.code == 2 and "the data changed since this run began" in said.line and "--fresh" in said.line
    assert stamps(tmp_path / "run") == kept
    said = done(*little, "--fresh")
    aside = next(tmp_path.glob("run.old-*"))
    assert f"the earlier run is now in {aside}" in said.err
    assert stamps(aside) == kept
    assert json.loads((tmp_path / "run/data_report.json").read_text())["rows"] == 31


def test_several_seeds(little: list[str], tmp_path: Path) -> None:
    said = done(*little, "--seeds", "0,1")
    assert "seeds 0, 1" in said.out and " ± " in said.out
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    assert summary["seeds"] == [0, 1]
    runs = [tmp_path / f"run/seed-{seed}" for seed in (0, 1)]
    values = [json.loads((run / "metrics.json").read_text())["after"]["accuracy"]["value"] for run in runs]
    assert summary["after"]["accuracy"]["mean"] == pytest.approx(sum(values) / 2)
    assert [Recipe.load(run / "recipe.yaml").training.seed for run in runs] == [0, 1]
    assert not answers_in(runs[0]).column("row").equals(answers_in(runs[1]).column("row")), "each seed splits anew"
    again = done(*little, "--seeds", "0,1", "--json")
    assert json.loads(again.out)["finished_before"] is True


def test_a_folder_that_is_no_run_is_left_alone(little: list[str], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/thesis.txt").write_text("years of work")
    said = call(*little)
    assert said.code == 2 and "holds files that are no run (thesis.txt)" in said.line
    assert sorted(p.name for p in (tmp_path / "run").iterdir() if p.name != ".lock") == ["thesis.txt"]


def test_the_default_output_is_named_after_data_and_target(
    little: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    at = little.index("--output")
    assert json.loads(done(*little[:at], *little[at + 2 :], "--json").out)["run"] == "runs/t-label"
    assert (tmp_path / "runs/t-label/report.html").is_file()
